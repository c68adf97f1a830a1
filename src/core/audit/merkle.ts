import { hash } from 'node:crypto';

/**
 * Merkle trees of RFC 6962 §2.1 (RFC 9162 §2.1): roots, inclusion proofs and consistency proofs. Leaf and node hashes are
 * told apart by their first byte, and the last node of an uneven level moves up as it is: it is never doubled.
 */

export const HASH_BYTES = 32;

export function leafHash(entry: Uint8Array): Buffer {
  return sha256(Buffer.concat([LEAF_PREFIX, entry]));
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return sha256(Buffer.concat([NODE_PREFIX, left, right]));
}

/** The root over `entries`; over none it is SHA-256 of nothing. */
export function merkleRoot(entries: readonly Uint8Array[]): Buffer {
  return rootOfHashes(entries.map(leafHash));
}

/** The root over leaf hashes. */
export function rootOfHashes(leafHashes: readonly Buffer[]): Buffer {
  return Buffer.from(subtreeRoot(leafHashes, 0, leafHashes.length));
}

/** The sibling hashes from leaf `index` up to the root over `leafHashes`. */
export function inclusionProof(leafHashes: readonly Buffer[], index: number): Buffer[] {
  const proof: Buffer[] = [];
  let start = 0;
  let end = leafHashes.length;
  while (end - start > 1) {
    const middle = start + splitPoint(end - start);
    if (index < middle) {
      proof.push(subtreeRoot(leafHashes, middle, end));
      end = middle;
    } else {
      proof.push(subtreeRoot(leafHashes, start, middle));
      start = middle;
    }
  }
  return proof.reverse();
}

export interface Inclusion {
  readonly index: number;
  readonly size: number;
  readonly leafHash: Uint8Array;
  readonly proof: readonly Uint8Array[];
  readonly root: Uint8Array;
}

/** RFC 9162 §2.1.3.2. Every field is attacker-controlled. */
export function verifyInclusion(claim: Inclusion): boolean {
  const { index, size, proof } = claim;
  if (!isSize(index) || !isSize(size) || index >= size) return false;
  if (!allHashes([claim.leafHash, claim.root, ...proof])) return false;
  let position = index;
  let last = size - 1;
  let hashed: Uint8Array = claim.leafHash;
  for (const sibling of proof) {
    if (last === 0) return false;
    if (isOdd(position) || position === last) {
      hashed = nodeHash(sibling, hashed);
      while (!isOdd(position) && position !== 0) {
        position = half(position);
        last = half(last);
      }
    } else {
      hashed = nodeHash(hashed, sibling);
    }
    position = half(position);
    last = half(last);
  }
  return last === 0 && same(hashed, claim.root);
}

/** Proof that the tree over the first `size` leaves is a prefix of the tree over all. Empty when either is the whole. */
export function consistencyProof(leafHashes: readonly Buffer[], size: number): Buffer[] {
  if (size <= 0 || size >= leafHashes.length) return [];
  return subproof(leafHashes, 0, leafHashes.length, size, true);
}

export interface Consistency {
  readonly size1: number;
  readonly size2: number;
  readonly root1: Uint8Array;
  readonly root2: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/** RFC 9162 §2.1.4.2. Every field is attacker-controlled. A tree of size 0 is consistent with none: handle it before. */
export function verifyConsistency(claim: Consistency): boolean {
  const { size1, size2, root1, root2, proof } = claim;
  if (!isSize(size1) || !isSize(size2) || size1 < 1 || size1 > size2) return false;
  if (!allHashes([root1, root2, ...proof])) return false;
  if (size1 === size2) return proof.length === 0 && same(root1, root2);
  const path = isPowerOfTwo(size1) ? [root1, ...proof] : [...proof];
  const first = path.shift();
  if (first === undefined || proof.length === 0) return false;

  let position = size1 - 1;
  let last = size2 - 1;
  while (isOdd(position)) {
    position = half(position);
    last = half(last);
  }
  let hashed1 = first;
  let hashed2 = first;
  for (const sibling of path) {
    if (last === 0) return false;
    if (isOdd(position) || position === last) {
      hashed1 = nodeHash(sibling, hashed1);
      hashed2 = nodeHash(sibling, hashed2);
      while (!isOdd(position) && position !== 0) {
        position = half(position);
        last = half(last);
      }
    } else {
      hashed2 = nodeHash(hashed2, sibling);
    }
    position = half(position);
    last = half(last);
  }
  return last === 0 && same(hashed1, root1) && same(hashed2, root2);
}

const LEAF_PREFIX = Buffer.from([0]);
const NODE_PREFIX = Buffer.from([1]);

function sha256(data: Uint8Array): Buffer {
  // One-shot: several times faster than createHash for inputs this short.
  return hash('sha256', data, 'buffer');
}

function subtreeRoot(hashes: readonly Buffer[], start: number, end: number): Buffer {
  if (end - start === 0) return sha256(Buffer.alloc(0));
  let level = hashes.slice(start, end);
  // Level by level; moving the lone last node up gives exactly the split at the largest power of two of RFC 6962.
  while (level.length > 1) {
    const above: Buffer[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const left = level[i] as Buffer;
      const right = level[i + 1];
      above.push(right === undefined ? left : nodeHash(left, right));
    }
    level = above;
  }
  return level[0] as Buffer;
}

function subproof(hashes: readonly Buffer[], start: number, end: number, size: number, whole: boolean): Buffer[] {
  const count = end - start;
  if (size === count) return whole ? [] : [subtreeRoot(hashes, start, end)];
  const k = splitPoint(count);
  if (size <= k) {
    return [...subproof(hashes, start, start + k, size, whole), subtreeRoot(hashes, start + k, end)];
  }
  return [...subproof(hashes, start + k, end, size - k, false), subtreeRoot(hashes, start, start + k)];
}

/** The largest power of two below `count`, which is at least 2. */
function splitPoint(count: number): number {
  let k = 1;
  while (k * 2 < count) k *= 2;
  return k;
}

// Sizes may exceed 2^32: no bit operators.
function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function isOdd(value: number): boolean {
  return value % 2 === 1;
}

function half(value: number): number {
  return Math.floor(value / 2);
}

function isPowerOfTwo(value: number): boolean {
  let power = value;
  while (power > 1 && !isOdd(power)) power = half(power);
  return power === 1;
}

function allHashes(values: readonly Uint8Array[]): boolean {
  return values.every((value) => value.length === HASH_BYTES);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
