import { HASH_BYTES, nodeHash, rootOfHashes } from './merkle.ts';
import { levelsOf, TILE_WIDTH, widthOf } from './tile.ts';

/** A hash that a growing tree adds to the tiles of a level. */
export interface AddedHash {
  readonly level: number;
  /** Within its level, from 0. */
  readonly index: number;
  readonly hash: Buffer;
}

/**
 * The right edge of a growing tree: the last tile of every level, as far as it is not full. It is all that is needed to
 * append leaves and to know the root, whatever the size.
 */
export class TreeEdge {
  #size: number;
  /** By level. None of them is full. */
  readonly #tiles: Buffer[][];

  private constructor(size: number, tiles: Buffer[][]) {
    this.#size = size;
    this.#tiles = tiles;
  }

  static empty(): TreeEdge {
    return new TreeEdge(0, []);
  }

  /**
   * The edge of a tree of `size` leaves, from its partial tiles.
   *
   * @param tile the hashes of the last tile of a level, which has `width` of them
   */
  static async restore(
    size: number,
    tile: (id: {
      readonly level: number;
      readonly index: number;
      readonly width: number;
    }) => Promise<readonly Buffer[]>,
  ): Promise<TreeEdge> {
    const tiles: Buffer[][] = [];
    for (const level of levelsOf(size)) {
      const index = Math.floor(Math.floor(size / TILE_WIDTH ** level) / TILE_WIDTH);
      const width = widthOf({ level, index }, size);
      tiles.push(width === 0 ? [] : [...(await tile({ level, index, width }))]);
    }
    return new TreeEdge(size, tiles);
  }

  /** Leaves. */
  get size(): number {
    return this.#size;
  }

  /** Adds a leaf; returns what the tiles gain: its hash, and one hash of the level above for every tile that is full now. */
  append(leafHash: Buffer): readonly AddedHash[] {
    const added: AddedHash[] = [];
    let hash: Buffer | undefined = leafHash;
    for (let level = 0; hash !== undefined; level++) {
      added.push({ level, index: Math.floor(this.#size / TILE_WIDTH ** level), hash });
      const tile = this.#tiles[level] ?? [];
      this.#tiles[level] = tile;
      tile.push(hash);
      hash = undefined;
      if (tile.length === TILE_WIDTH) {
        hash = rootOfHashes(tile);
        this.#tiles[level] = [];
      }
    }
    this.#size += 1;
    return added;
  }

  root(): Buffer {
    const subtrees = this.#tiles.toReversed().flatMap(wholeSubtrees);
    const last = subtrees.pop();
    // RFC 6962 splits at the largest power of two: what is smaller and to the right is joined first.
    return last === undefined ? rootOfHashes([]) : subtrees.reduceRight((right, left) => nodeHash(left, right), last);
  }

  /** A tree that grows on its own from here. */
  clone(): TreeEdge {
    return new TreeEdge(
      this.#size,
      this.#tiles.map((tile) => [...tile]),
    );
  }

  /** Hashes of the last tiles, level by level: with `size`, all that it is. */
  export(): readonly Buffer[] {
    return this.#tiles.map((tile) => Buffer.concat(tile));
  }

  /** What `export` has given; `undefined` when that cannot be the edge of a tree of this size. */
  static import(size: number, tiles: readonly Buffer[]): TreeEdge | undefined {
    const levels = levelsOf(size);
    const fits =
      levels.length === tiles.length &&
      levels.every((level) => tiles[level]?.length === edgeWidth(level, size) * HASH_BYTES);
    if (!fits) return undefined;
    const hashesIn = (tile: Buffer) =>
      Array.from({ length: tile.length / HASH_BYTES }, (_, i) => tile.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
    return new TreeEdge(size, tiles.map(hashesIn));
  }
}

function edgeWidth(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level) % TILE_WIDTH;
}

/** The roots over the whole subtrees that a partial tile consists of, largest first. */
function wholeSubtrees(tile: readonly Buffer[]): Buffer[] {
  const roots: Buffer[] = [];
  let start = 0;
  for (let width = TILE_WIDTH / 2; width >= 1; width /= 2) {
    if (tile.length - start < width) continue;
    roots.push(rootOfHashes(tile.slice(start, start + width)));
    start += width;
  }
  return roots;
}
