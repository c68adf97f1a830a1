import { AppError } from '../../base/errors.ts';
import { HASH_BYTES } from './merkle.ts';

/**
 * Tiles (c2sp.org/tlog-tiles): the hashes of a log, and its entries, cut into pieces that never change. A tile of level 0
 * holds leaf hashes; each hash of a tile above is the root over a full tile below. The entries come in bundles that are cut
 * like the tiles of level 0.
 */
export interface TileId {
  readonly level: TileLevel;
  /** Within its level, from 0. */
  readonly index: number;
  /** Hashes or entries in it: 1 to `TILE_WIDTH`, which is a full one. */
  readonly width: number;
}

export type TileLevel = number | 'entries';

export const TILE_WIDTH = 256;
export const FULL_TILE_BYTES = TILE_WIDTH * HASH_BYTES;
export const MAX_TILE_LEVEL = 63;
/** Of one entry: its length is written in two bytes. */
export const MAX_ENTRY_BYTES = 65_535;
const LENGTH_BYTES = 2;

/** Below the URL of the log: `tile/0/x001/234`, `tile/entries/000.p/5`. */
export function tilePath({ level, index, width }: TileId): string {
  return `tile/${level}/${indexPath(index)}${width === TILE_WIDTH ? '' : `.p/${width}`}`;
}

/** The index in groups of three digits, of which all but the last begin with an x. */
export function indexPath(index: number): string {
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/\d{3}/g) ?? [];
  return groups.map((group, i) => (i === groups.length - 1 ? group : `x${group}`)).join('/');
}

/** The tile that a path names, which comes from a caller; `undefined` for a path that `tilePath` does not write. */
export function parseTilePath(path: string): TileId | undefined {
  if (path.length > MAX_PATH) return undefined;
  const match = /^tile\/(entries|0|[1-9]\d?)\/((?:x\d{3}\/)*)(\d{3})(?:\.p\/([1-9]\d{0,2}))?$/.exec(path);
  const [, levelText, above = '', last = '', widthText] = match ?? [];
  if (levelText === undefined) return undefined;
  const level = levelText === 'entries' ? levelText : Number(levelText);
  const index = Number(`${above.replaceAll(/[x/]/g, '')}${last}`);
  const width = widthText === undefined ? TILE_WIDTH : Number(widthText);
  const isKnown = level === 'entries' || level <= MAX_TILE_LEVEL;
  if (!isKnown || !Number.isSafeInteger(index) || (widthText !== undefined && width >= TILE_WIDTH)) return undefined;
  const tile: TileId = Object.freeze({ level, index, width });
  // One spelling each: without this, 000/001 would be 001 too.
  return tilePath(tile) === path ? tile : undefined;
}

const MAX_PATH = 64;

/** Whole subtrees of 256^level leaves in a log of `size` leaves: the hashes of that level. */
export function hashesAt(level: TileLevel, size: number): number {
  return level === 'entries' ? size : Math.floor(size / TILE_WIDTH ** level);
}

/** How many hashes or entries of a tile a log of `size` leaves has: 0 to `TILE_WIDTH`. */
export function widthOf(tile: Pick<TileId, 'level' | 'index'>, size: number): number {
  return Math.min(Math.max(hashesAt(tile.level, size) - tile.index * TILE_WIDTH, 0), TILE_WIDTH);
}

/** The tiles that a log of `size` leaves has and one of `before` leaves has not, or not as wide: level by level. */
export function tilesBetween(before: number, size: number): readonly TileId[] {
  const tiles: TileId[] = [];
  for (const level of ['entries', ...levelsOf(size)] as const) {
    const first = Math.floor(hashesAt(level, before) / TILE_WIDTH);
    for (let index = first; ; index++) {
      const width = widthOf({ level, index }, size);
      if (width === 0 || width <= widthOf({ level, index }, before)) break;
      tiles.push({ level, index, width });
    }
  }
  return tiles;
}

/** The levels on which a log of `size` leaves has tiles. */
export function levelsOf(size: number): readonly number[] {
  const levels: number[] = [];
  for (let level = 0; hashesAt(level, size) > 0; level++) levels.push(level);
  return levels;
}

/** An entry as bundles hold it: behind its length. Throws `too-large`. */
export function bundleEntry(entry: Uint8Array): Buffer {
  if (entry.length > MAX_ENTRY_BYTES)
    throw new AppError('too-large', `A log entry has at most ${MAX_ENTRY_BYTES} bytes.`);
  const bytes = Buffer.allocUnsafe(LENGTH_BYTES + entry.length);
  bytes.writeUInt16BE(entry.length);
  bytes.set(entry, LENGTH_BYTES);
  return bytes;
}

/** The entries of a bundle, which may be anybody's bytes. Throws `proof-refused` unless they are exactly `width` entries. */
export function splitBundle(bytes: Buffer, width: number): readonly Buffer[] {
  const entries: Buffer[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const end = endOfEntry(bytes, offset);
    if (end === undefined) throw refused('its last entry is cut off');
    if (entries.length === width) throw refused(`it holds more than ${width} entries`);
    entries.push(bytes.subarray(offset + LENGTH_BYTES, end));
    offset = end;
  }
  if (entries.length !== width) throw refused(`it holds ${entries.length} entries instead of ${width}`);
  return entries;
}

/** How many bytes the first `width` entries of a bundle have; `undefined` when it has fewer entries. */
export function bundleBytes(bytes: Buffer, width: number): number | undefined {
  let offset = 0;
  for (let i = 0; i < width; i++) {
    const end = endOfEntry(bytes, offset);
    if (end === undefined) return undefined;
    offset = end;
  }
  return offset;
}

/** The hashes of a tile. Throws `proof-refused` unless they are exactly `width`. */
export function splitTile(bytes: Buffer, width: number): readonly Buffer[] {
  if (bytes.length !== width * HASH_BYTES)
    throw refused(`it has ${bytes.length} bytes instead of ${width * HASH_BYTES}`);
  return Array.from({ length: width }, (_, i) => bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
}

function endOfEntry(bytes: Buffer, offset: number): number | undefined {
  if (bytes.length - offset < LENGTH_BYTES) return undefined;
  const end = offset + LENGTH_BYTES + bytes.readUInt16BE(offset);
  return end > bytes.length ? undefined : end;
}

function refused(why: string): AppError {
  return new AppError('proof-refused', `A tile of the log is refused: ${why}.`);
}
