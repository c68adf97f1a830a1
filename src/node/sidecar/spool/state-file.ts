import { join } from 'node:path';
import { isMissing } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { Files, OpenFile } from '../../../base/journal/files.ts';
import { encodeFrames, readFrame } from '../../../base/journal/frame.ts';
import type { EpochStart, Place } from './epochs.ts';

/** What the spool knows about its records besides the records. */
export interface SpoolState {
  readonly version: 1;
  /** The sidecar whose batches are cut; null before the first. */
  readonly instanceId: string | null;
  readonly starts: readonly EpochStart[];
  /** Everything up to here is durable in the ledger. */
  readonly acked: Acked;
  /** Index of the newest segment, 0 before the first: it is never deleted, so that its loss shows. */
  readonly segment: number;
  /** Number of a record up to which all have been durable. */
  readonly written: number;
  /**
   * Calls are forwarded before their record is durable, by a process that runs since this start of the machine; absent when
   * it has ended well, or never did that. Absent too from what older versions have written.
   */
  readonly window?: string | undefined;
}

export interface Acked extends Place {
  /** The spool counts its batches from 1; 0 before the first. */
  readonly cut: number;
  /** Of the batch that ends here, lower hex; empty at the start of an epoch. */
  readonly hash: string;
}

export interface StoredCut {
  readonly cut: number;
  /** Canonical batch header. */
  readonly header: string;
}

const NAME = 'state';
const STATE_BYTES = 32 * 1024;
const CUT_BYTES = 4 * 1024;
/** Slots for cut batches: the last ones that were cut. More than can be unacknowledged at any time. */
export const CUT_SLOTS = 16;
const FILE_BYTES = 2 * STATE_BYTES + CUT_SLOTS * CUT_BYTES;

/**
 * The small, changing state of the spool, in one file of a fixed size that is overwritten in place: two slots for the state,
 * written in turn, and a ring of slots for cut batches, each with a checksum. It takes no new disk space, so that a spool on
 * a full disk can still be shipped, and thereby emptied. Not for concurrent writes.
 */
export class StateFile {
  #file: OpenFile;
  #generation: number;

  private constructor(file: OpenFile, generation: number) {
    this.#file = file;
    this.#generation = generation;
  }

  /** `state` is undefined when there is none that is whole; `cuts` are all that are whole, in no order. */
  static async open(files: Files): Promise<{
    readonly file: StateFile;
    readonly state: SpoolState | undefined;
    readonly cuts: readonly StoredCut[];
  }> {
    const file = await openOrCreate(files);
    const bytes = await file.read(0, FILE_BYTES);
    if (bytes.length < FILE_BYTES) await file.write(Buffer.alloc(FILE_BYTES - bytes.length), bytes.length);
    const slots = [readFrame(bytes.subarray(0, STATE_BYTES), 0, 0), readFrame(bytes.subarray(STATE_BYTES), 0, 0)];
    const newest = slots.filter((frame) => frame !== undefined).sort((a, b) => b.number - a.number)[0];
    const state = newest === undefined ? undefined : (JSON.parse(newest.payload.toString('utf8')) as SpoolState);
    if (state !== undefined && state.version !== 1) {
      throw new AppError(
        'incompatible-data',
        `${join(files.directory, NAME)} was written by another version of Writ. Run that version until it has shipped everything.`,
      );
    }
    const cuts: StoredCut[] = [];
    for (let slot = 0; slot < CUT_SLOTS; slot++) {
      const frame = readFrame(bytes.subarray(0, cutOffset(slot) + CUT_BYTES), cutOffset(slot), 0);
      if (frame !== undefined) cuts.push(JSON.parse(frame.payload.toString('utf8')) as StoredCut);
    }
    return { file: new StateFile(file, newest?.number ?? 0), state, cuts };
  }

  /** Replaces the state; it is durable when this resolves, and the one before stays if it rejects. */
  async writeState(state: SpoolState): Promise<void> {
    const generation = this.#generation + 1;
    await this.#write((generation % 2) * STATE_BYTES, STATE_BYTES, generation, state);
    this.#generation = generation;
  }

  /** Stores a cut batch in the place of the one `CUT_SLOTS` before it. */
  writeCut(cut: StoredCut): Promise<void> {
    return this.#write(cutOffset(cut.cut % CUT_SLOTS), CUT_BYTES, cut.cut, cut);
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #write(offset: number, room: number, number: number, content: SpoolState | StoredCut): Promise<void> {
    const payload = Buffer.from(JSON.stringify(content), 'utf8');
    const frame = encodeFrames([payload], { first: number, durable: number, salt: 0 });
    if (frame.length > room) throw new AppError('internal', 'The state of the spool has outgrown its slot.');
    await this.#file.write(frame, offset);
    await this.#file.sync();
  }
}

function cutOffset(slot: number): number {
  return 2 * STATE_BYTES + slot * CUT_BYTES;
}

async function openOrCreate(files: Files): Promise<OpenFile> {
  try {
    return await files.open(NAME);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  const file = await files.create(NAME);
  await file.write(Buffer.alloc(FILE_BYTES), 0);
  await file.sync();
  await files.syncDirectory();
  return file;
}
