import { nodeHash, rootOfHashes } from './merkle.ts';
import { TILE_WIDTH, widthOf } from './tile.ts';

/** The hashes of a tile of a log; `width` is what a log of the size in question has of it. */
export type ReadTile = (tile: {
  readonly level: number;
  readonly index: number;
  readonly width: number;
}) => Promise<readonly Buffer[]>;

/** Proofs about a log of which only the tiles are at hand. They are as good as the tiles: who gets them verifies them. */
export class LogTree {
  readonly #read: ReadTile;
  readonly #size: number;

  /** @param size leaves; everything is about the log as it is with these */
  constructor(read: ReadTile, size: number) {
    this.#read = read;
    this.#size = size;
  }

  root(): Promise<Buffer> {
    return this.#root(0, this.#size);
  }

  /** RFC 9162 §2.1.3.1, from the leaf's sibling up. `index` is below the size. */
  async inclusion(index: number): Promise<readonly Buffer[]> {
    const proof: Buffer[] = [];
    let [start, end] = [0, this.#size];
    while (end - start > 1) {
      const middle = start + splitPoint(end - start);
      if (index < middle) {
        proof.push(await this.#root(middle, end));
        end = middle;
      } else {
        proof.push(await this.#root(start, middle));
        start = middle;
      }
    }
    return proof.reverse();
  }

  /** RFC 9162 §2.1.4.1: that the first `size` leaves are what they were. Empty for none and for all. */
  async consistency(size: number): Promise<readonly Buffer[]> {
    if (size <= 0 || size >= this.#size) return [];
    const proof: Buffer[] = [];
    let [start, end] = [0, this.#size];
    let left = size;
    let isWhole = true;
    while (left !== end - start) {
      const k = splitPoint(end - start);
      if (left <= k) {
        proof.push(await this.#root(start + k, end));
        end = start + k;
      } else {
        proof.push(await this.#root(start, start + k));
        start += k;
        left -= k;
        isWhole = false;
      }
    }
    // The old root itself is known to whoever has the old size.
    if (!isWhole) proof.push(await this.#root(start, end));
    return proof.reverse();
  }

  /** Over the leaves from `start` to before `end`, where `start` is a multiple of a power of two not below their number. */
  async #root(start: number, end: number): Promise<Buffer> {
    const count = end - start;
    if (count === 0) return rootOfHashes([]);
    const k = count === 1 ? 1 : splitPoint(count);
    if (count !== 1 && k * 2 !== count)
      return nodeHash(await this.#root(start, start + k), await this.#root(start + k, end));
    return this.#subtree(start, count);
  }

  /** Of `count` leaves, a power of two, from a multiple of it on: in one tile. */
  async #subtree(start: number, count: number): Promise<Buffer> {
    let level = 0;
    let width = count;
    while (width >= TILE_WIDTH) {
      width /= TILE_WIDTH;
      level += 1;
    }
    const first = start / TILE_WIDTH ** level;
    const index = Math.floor(first / TILE_WIDTH);
    const hashes = await this.#read({ level, index, width: widthOf({ level, index }, this.#size) });
    const offset = first % TILE_WIDTH;
    return rootOfHashes(hashes.slice(offset, offset + width));
  }
}

/** The largest power of two below `count`, which is at least 2. */
function splitPoint(count: number): number {
  let k = 1;
  while (k * 2 < count) k *= 2;
  return k;
}
