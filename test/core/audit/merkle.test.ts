import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  consistencyProof,
  inclusionProof,
  leafHash,
  merkleRoot,
  nodeHash,
  rootOfHashes,
  verifyConsistency,
  verifyInclusion,
} from '../../../src/core/audit/merkle.ts';

/** The leaves of the reference implementation of Certificate Transparency, and the roots over the first 0 to 8 of them. */
const leaves = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'].map(
  (hex) => Buffer.from(hex, 'hex'),
);
const roots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

/** The definition of RFC 6962 §2.1, word for word. */
function naiveRoot(entries: readonly Buffer[]): Buffer {
  const sha = (...parts: Buffer[]) => createHash('sha256').update(Buffer.concat(parts)).digest();
  const [only] = entries;
  if (only === undefined) return sha();
  if (entries.length === 1) return sha(Buffer.from([0]), only);
  let k = 1;
  while (k * 2 < entries.length) k *= 2;
  return sha(Buffer.from([1]), naiveRoot(entries.slice(0, k)), naiveRoot(entries.slice(k)));
}

function entriesOf(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(`entry ${i}`));
}

describe('a Merkle root', () => {
  it.each(roots.map((root, size) => [size, root] as const))(
    'over %i reference leaves is that of RFC 6962',
    (size, root) => {
      expect(merkleRoot(leaves.slice(0, size)).toString('hex')).toBe(root);
    },
  );

  it('tells the empty leaf from the empty tree', () => {
    expect(leafHash(Buffer.alloc(0))).not.toEqual(merkleRoot([]));
  });

  it('does not double the last leaf of an uneven level', () => {
    const [a, b, c] = leaves.slice(0, 3).map(leafHash) as [Buffer, Buffer, Buffer];
    expect(merkleRoot(leaves.slice(0, 3))).toEqual(nodeHash(nodeHash(a, b), c));
  });

  it('is that of the recursive definition, for any entries', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 8 }), { maxLength: 70 }), (entries) => {
        const buffers = entries.map((entry) => Buffer.from(entry));
        expect(merkleRoot(buffers)).toEqual(naiveRoot(buffers));
      }),
    );
  });
});

describe('an inclusion proof', () => {
  it('verifies for every leaf of every size to 40, and for no other leaf, index, size, root or proof', () => {
    for (let size = 1; size <= 40; size++) {
      const hashes = entriesOf(size).map(leafHash);
      const root = rootOfHashes(hashes);
      for (let index = 0; index < size; index++) {
        const proof = inclusionProof(hashes, index);
        const claim = { index, size, leafHash: hashes[index] as Buffer, proof, root };
        expect(verifyInclusion(claim)).toBe(true);
        expect(verifyInclusion({ ...claim, leafHash: leafHash(Buffer.from('other')) })).toBe(false);
        expect(verifyInclusion({ ...claim, root: leafHash(Buffer.from('other')) })).toBe(false);
        expect(verifyInclusion({ ...claim, proof: [...proof, root] })).toBe(false);
        expect(verifyInclusion({ ...claim, proof: proof.slice(1) })).toBe(size === 1);
        if (size > 1) expect(verifyInclusion({ ...claim, index: (index + 1) % size })).toBe(false);
      }
    }
  });

  it.each([
    ['an index that is not below the size', { index: 2, size: 2 }],
    ['a negative index', { index: -1, size: 2 }],
    ['a fractional index', { index: 0.5, size: 2 }],
    ['an empty tree', { index: 0, size: 0 }],
    ['a size beyond 2^53', { index: 0, size: 2 ** 60 }],
  ])('is refused for %s', (_, place) => {
    const hash = leafHash(Buffer.from('x'));
    expect(verifyInclusion({ ...place, leafHash: hash, proof: [hash], root: hash })).toBe(false);
  });

  it('is refused when a hash has another length', () => {
    const hash = leafHash(Buffer.from('x'));
    const claim = { index: 0, size: 1, leafHash: hash, proof: [], root: hash };
    expect(verifyInclusion(claim)).toBe(true);
    expect(verifyInclusion({ ...claim, leafHash: hash.subarray(1) })).toBe(false);
    expect(verifyInclusion({ index: 0, size: 2, leafHash: hash, proof: [Buffer.alloc(31)], root: hash })).toBe(false);
  });
});

describe('a consistency proof', () => {
  it('verifies between all sizes to 24, and for no other root or proof', () => {
    const hashes = entriesOf(24).map(leafHash);
    for (let size2 = 1; size2 <= 24; size2++) {
      for (let size1 = 1; size1 <= size2; size1++) {
        const proof = consistencyProof(hashes.slice(0, size2), size1);
        const root1 = rootOfHashes(hashes.slice(0, size1));
        const root2 = rootOfHashes(hashes.slice(0, size2));
        const claim = { size1, size2, root1, root2, proof };
        expect(verifyConsistency(claim), `${size1} in ${size2}`).toBe(true);
        expect(verifyConsistency({ ...claim, root1: leafHash(root1) })).toBe(false);
        expect(verifyConsistency({ ...claim, root2: leafHash(root2) })).toBe(false);
        expect(verifyConsistency({ ...claim, proof: [...proof, root1] })).toBe(false);
        if (proof.length > 0) expect(verifyConsistency({ ...claim, proof: proof.slice(1) })).toBe(false);
        if (size1 < size2) expect(verifyConsistency({ ...claim, proof: [] })).toBe(false);
      }
    }
  });

  it('is refused from an empty tree, and from a larger to a smaller one', () => {
    const root = leafHash(Buffer.from('x'));
    expect(verifyConsistency({ size1: 0, size2: 1, root1: root, root2: root, proof: [] })).toBe(false);
    expect(verifyConsistency({ size1: 2, size2: 1, root1: root, root2: root, proof: [root] })).toBe(false);
  });

  it('never throws, whatever is claimed', () => {
    const hash = fc.uint8Array({ minLength: 31, maxLength: 33 });
    const claim = fc.record({
      size1: fc.integer(),
      size2: fc.integer(),
      root1: hash,
      root2: hash,
      proof: fc.array(hash, { maxLength: 5 }),
    });
    fc.assert(
      fc.property(claim, (c) => {
        expect(verifyConsistency(c)).toBe(false);
        const { size1: index, size2: size, root1: leaf, root2: root, proof } = c;
        expect(verifyInclusion({ index, size, leafHash: leaf, root, proof })).toBe(false);
      }),
    );
  });
});
