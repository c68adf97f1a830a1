import { isMissing } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { Files, OpenFile } from '../../../base/journal/files.ts';
import { HASH_BYTES } from '../../../core/audit/merkle.ts';
import type { TileId } from '../../../core/audit/tile.ts';
import { TILE_WIDTH } from '../../../core/audit/tile.ts';
import type { Staged, StagedWrite } from './staged.ts';
import { decodeStaged, encodeStaged } from './staged.ts';

/** Hashes, or entries, that share a file. */
export const SEGMENT = 65_536;
const END_BYTES = 4;
export const STAGING = 'staging';
export const CHECKPOINT = /^checkpoint-(\d{16})-(\d{4})$/;

/**
 * The files of a log. They only grow, and none of their bytes ever changes: a partial tile is the beginning of the full one,
 * so one copy serves every width that was ever published.
 *
 *   hashes-<level>-<segment>     the hashes of a level, 65,536 to a file: 256 tiles
 *   entries-<segment>            the entries as bundles hold them, 65,536 to a file: 256 bundles
 *   ends-<segment>               u32 each: where an entry ends in that file
 *   checkpoint-<size>-<n>        the published checkpoint; a later one replaces it
 *   staging                      a step that is being taken
 */
export class LogFiles {
  readonly #files: Files;

  constructor(files: Files) {
    this.#files = files;
  }

  get directory(): string {
    return this.#files.directory;
  }

  /** The published checkpoints that are there, newest first: one, or two after a crash. */
  async published(): Promise<readonly Buffer[]> {
    const names = (await this.#checkpoints()).toReversed();
    return Promise.all(names.map((name) => this.#readAll(name)));
  }

  /** Durable when it resolves. */
  async publish(size: number, note: Buffer): Promise<void> {
    const before = await this.#checkpoints();
    const prefix = `checkpoint-${String(size).padStart(16, '0')}-`;
    const last = before.findLast((name) => name.startsWith(prefix));
    const turn = last === undefined ? 0 : Number(last.slice(prefix.length)) + 1;
    // In a file of its own: at no moment is there none.
    await this.#write(`${prefix}${String(turn).padStart(4, '0')}`, note);
    await this.#files.syncDirectory();
    for (const name of before) await this.#files.remove(name);
  }

  /** Durable when it resolves; replaces what was staged before. */
  async stage(staged: Staged): Promise<void> {
    await this.#files.remove(STAGING);
    await this.#write(STAGING, encodeStaged(staged));
    await this.#files.syncDirectory();
  }

  async staged(): Promise<Staged | undefined> {
    const bytes = await this.#readAll(STAGING).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    return bytes === undefined ? undefined : decodeStaged(bytes);
  }

  async dropStaging(): Promise<void> {
    await this.#files.remove(STAGING);
  }

  /** Durable when it resolves. May be repeated. Throws `incompatible-data` when what stands before the bytes is missing. */
  async apply(staged: Staged): Promise<void> {
    for (const write of staged.writes) await this.#apply(write);
    await this.#files.syncDirectory();
  }

  /** The bytes of a tile or bundle; they are all there once a checkpoint implies them. Throws `incompatible-data` otherwise. */
  tile({ level, index, width }: TileId): Promise<Buffer> {
    const first = index * TILE_WIDTH;
    if (level === 'entries') return this.#entries(first, width);
    return this.#readAt(hashesFile(level, first), (first % SEGMENT) * HASH_BYTES, width * HASH_BYTES);
  }

  /** Where the entry behind the first `size` ones begins in its file. */
  async endOfEntries(size: number): Promise<number> {
    if (size % SEGMENT === 0) return 0;
    return (await this.#ends(size - 1, 1)).readUInt32BE();
  }

  async #entries(first: number, width: number): Promise<Buffer> {
    const isSegmentStart = first % SEGMENT === 0;
    const ends = await this.#ends(isSegmentStart ? first : first - 1, isSegmentStart ? width : width + 1);
    const start = isSegmentStart ? 0 : ends.readUInt32BE();
    const end = ends.readUInt32BE(ends.length - END_BYTES);
    if (end < start) throw this.#damaged(endsFile(first));
    return this.#readAt(entriesFile(first), start, end - start);
  }

  #ends(first: number, count: number): Promise<Buffer> {
    return this.#readAt(endsFile(first), (first % SEGMENT) * END_BYTES, count * END_BYTES);
  }

  async #apply({ file: name, offset, bytes }: StagedWrite): Promise<void> {
    const file = await this.#openOrCreate(name, offset === 0);
    try {
      if ((await file.size()) < offset) throw this.#damaged(name);
      await file.write(bytes, offset);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #openOrCreate(name: string, mayCreate: boolean): Promise<OpenFile> {
    try {
      return await this.#files.open(name);
    } catch (error) {
      if (!isMissing(error)) throw error;
      if (!mayCreate) throw this.#damaged(name);
      return this.#files.create(name);
    }
  }

  async #readAt(name: string, offset: number, length: number): Promise<Buffer> {
    let file: OpenFile;
    try {
      file = await this.#files.open(name);
    } catch (error) {
      if (isMissing(error)) throw this.#damaged(name);
      throw error;
    }
    try {
      const bytes = await file.read(offset, length);
      if (bytes.length !== length) throw this.#damaged(name);
      return bytes;
    } finally {
      await file.close();
    }
  }

  async #readAll(name: string): Promise<Buffer> {
    const file = await this.#files.open(name);
    try {
      return await file.read(0, await file.size());
    } finally {
      await file.close();
    }
  }

  async #write(name: string, bytes: Buffer): Promise<void> {
    const file = await this.#files.create(name);
    try {
      await file.write(bytes, 0);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #checkpoints(): Promise<readonly string[]> {
    return (await this.#files.list()).filter((name) => CHECKPOINT.test(name)).toSorted();
  }

  #damaged(name: string): AppError {
    return new AppError(
      'incompatible-data',
      `${this.#files.directory}/${name} is shorter than the audit log that was published. Restore the directory from a backup that is not older than the database.`,
    );
  }
}

export function hashesFile(level: number, index: number): string {
  return `hashes-${String(level).padStart(2, '0')}-${segmentOf(index)}`;
}

export function entriesFile(index: number): string {
  return `entries-${segmentOf(index)}`;
}

export function endsFile(index: number): string {
  return `ends-${segmentOf(index)}`;
}

function segmentOf(index: number): string {
  return String(Math.floor(index / SEGMENT)).padStart(8, '0');
}
