import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import type { RandomBytes } from '../random.ts';
import type { Files, OpenFile } from './files.ts';
import { encodeFrames, readFrame } from './frame.ts';
import type { Run } from './segment.ts';
import { encodeHead, extendRun, newRun, segmentName } from './segment.ts';

export interface WriterOptions {
  readonly files: Files;
  readonly kind: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: RandomBytes;
  readonly segmentBytes: number;
  /** Shared with the journal, which reads it; the writer appends to it and drops from it. */
  readonly runs: Run[];
  /** Bytes of each existing segment, by index. */
  readonly sizes: Map<number, number>;
  readonly nextIndex: number;
  readonly onSegment: (index: number) => void;
  readonly onRemoved: (next: number) => void;
}

/** How often to look whether the file that is written to still has its name. */
const LINK_CHECK_MS = 1000;

interface Active {
  readonly file: OpenFile;
  readonly run: Run;
  /** Offset behind the last written record. */
  size: number;
}

/**
 * The writing end of a journal: the active segment, and a new one when it is full, when writing to it has failed, or when
 * somebody has removed it. One call at a time.
 */
export class SegmentWriter {
  readonly #options: WriterOptions;
  #active: Active | undefined;
  #index: number;
  #written: number;
  #durable: number;
  /** Written but not yet durable: to be written again if the fdatasync fails. */
  #unsynced: Uint8Array[] = [];
  #broken = false;
  #removed = false;
  #checkedAt = 0;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#index = options.nextIndex - 1;
    this.#durable = options.runs.at(-1)?.last ?? 0;
    this.#written = this.#durable;
  }

  /** Number of the last record that was written. */
  get written(): number {
    return this.#written;
  }

  /** Number of the last record that is durable. */
  get durable(): number {
    return this.#durable;
  }

  get hasUnsynced(): boolean {
    return this.#unsynced.length > 0;
  }

  get index(): number {
    return this.#index;
  }

  get bytes(): number {
    let sum = 0;
    for (const size of this.#options.sizes.values()) sum += size;
    return sum;
  }

  /** The next record gets this number. Only before the first write. */
  skipTo(number: number): void {
    this.#written = number - 1;
    this.#durable = number - 1;
  }

  /** Writes records with the numbers that follow; they are durable after `sync`. */
  async write(payloads: readonly Uint8Array[]): Promise<void> {
    const active = await this.#prepare(payloads.reduce((sum, payload) => sum + payload.length, 0));
    const frames = this.#encode(this.#written + 1, payloads, active.run.salt);
    await active.file.write(frames, active.size);
    active.size += frames.length;
    this.#options.sizes.set(active.run.index, active.size);
    this.#written += payloads.length;
    this.#unsynced.push(...payloads);
  }

  async sync(): Promise<void> {
    if (this.#unsynced.length === 0) return;
    if (this.#broken || this.#active === undefined) await this.#repair();
    else await this.#active.file.sync();
    this.#settle();
  }

  /**
   * Writing has failed: the next write goes to a new segment.
   * @param promised number of the last record that must not be lost although it is not durable.
   */
  abandon(promised: number): void {
    this.#broken = true;
    this.#unsynced = this.#unsynced.slice(0, Math.max(0, promised - this.#durable));
    this.#written = this.#durable + this.#unsynced.length;
  }

  async dropBefore(number: number): Promise<void> {
    const { runs, sizes, files } = this.#options;
    // The newest segment always stays: its absence is how a lost one is known.
    const kept = runs.find((run) => run.last >= number)?.index ?? this.#index;
    const doomed = [...sizes.keys()].filter((index) => index < kept);
    if (doomed.length === 0) return;
    for (const index of doomed) {
      try {
        await files.remove(segmentName(index));
        sizes.delete(index);
        runs.splice(0, runs.length, ...runs.filter((run) => run.index !== index));
      } catch (error) {
        this.#options.logger.warn({ err: error, segment: segmentName(index) }, 'a segment cannot be deleted');
      }
    }
    // A deletion that a power cut undoes is done again after the next start.
    await files.syncDirectory().catch(() => undefined);
  }

  async close(): Promise<void> {
    const active = this.#active;
    this.#active = undefined;
    await active?.file.close();
  }

  async #prepare(bytes: number): Promise<Active> {
    if (this.#active !== undefined && !this.#broken) {
      await this.#checkLinked(this.#active);
      if (this.#active.size + bytes > this.#options.segmentBytes && this.#written >= this.#active.run.first) {
        await this.sync();
        await this.#startSegment(this.#written + 1, []);
      }
    } else {
      await this.#repair();
    }
    return this.#active as Active;
  }

  /** A file without a name is gone when we close it, however well it was written. */
  async #checkLinked(active: Active): Promise<void> {
    const now = this.#options.clock.now();
    if (Math.abs(now - this.#checkedAt) < LINK_CHECK_MS) return;
    this.#checkedAt = now;
    if (await active.file.isLinked()) return;
    this.#removed = true;
    this.#broken = true;
    throw new Error(`somebody has removed or replaced ${join(this.#options.files.directory, active.run.name)}`);
  }

  /** A new segment with all that was promised and is not safely in another. */
  async #repair(): Promise<void> {
    const saved = this.#removed && this.#active !== undefined ? await this.#rescue(this.#active) : undefined;
    const first = saved === undefined || saved.length === 0 ? this.#durable + 1 : this.#durable + 1 - saved.length;
    const wasRemoved = this.#removed;
    await this.#startSegment(first, [...(saved ?? []), ...this.#unsynced]);
    this.#settle();
    if (wasRemoved) this.#options.onRemoved(this.#written + 1);
  }

  /** The durable records of a file that has lost its name, as long as we hold it open. */
  async #rescue(active: Active): Promise<Uint8Array[]> {
    const { run } = active;
    const payloads: Uint8Array[] = [];
    try {
      const bytes = await active.file.read(run.start, run.end - run.start);
      for (let offset = 0, number = run.first; number <= run.last; number++) {
        const frame = readFrame(bytes, offset, run.salt);
        if (frame?.number !== number) throw new Error('a record is destroyed');
        payloads.push(frame.payload);
        offset = frame.end;
      }
      return payloads;
    } catch (error) {
      this.#options.logger.error({ err: error }, 'the records of a removed segment are lost');
      return [];
    }
  }

  async #startSegment(first: number, payloads: readonly Uint8Array[]): Promise<void> {
    const { files, kind, runs, sizes } = this.#options;
    this.#index += 1;
    const name = segmentName(this.#index);
    const salt = this.#options.random(4).readUInt32BE(0);
    const head = encodeHead({ version: 1, kind, first, salt });
    const content = Buffer.concat([head, this.#encode(first, payloads, salt)]);
    const file = await files.create(name);
    try {
      await file.write(content, 0);
      await file.sync();
      await files.syncDirectory();
    } catch (error) {
      await file.close().catch(() => undefined);
      await files.remove(name).catch(() => undefined);
      throw error;
    }
    const before = this.#active;
    if (before !== undefined) this.#retire(before, first);
    const run = newRun(this.#index, name, salt, first, head.length);
    if (payloads.length > 0) extendRun(run, head.length, first + payloads.length - 1, content.length);
    runs.push(run);
    sizes.set(this.#index, content.length);
    this.#active = { file, run, size: content.length };
    this.#broken = false;
    this.#removed = false;
    this.#checkedAt = this.#options.clock.now();
    this.#options.onSegment(this.#index);
    await before?.file.close().catch(() => undefined);
  }

  /** The segment before holds what is below `first`; the rest, if any, has just been written to the new one. */
  #retire(before: Active, first: number): void {
    const { runs, sizes } = this.#options;
    if (!this.#removed && before.run.last >= before.run.first && before.run.first < first) return;
    runs.splice(runs.indexOf(before.run), 1);
    if (this.#removed) sizes.delete(before.run.index);
  }

  #encode(first: number, payloads: readonly Uint8Array[], salt: number): Buffer {
    // What is rescued from a removed file is numbered below what is durable, but in the new file it is not durable yet.
    return encodeFrames(payloads, { first, durable: Math.min(this.#durable, first - 1), salt });
  }

  /** All that was written is durable now. */
  #settle(): void {
    const active = this.#active as Active;
    if (this.#written > active.run.last) {
      extendRun(active.run, active.run.end, this.#written, active.size);
    }
    this.#durable = this.#written;
    this.#unsynced = [];
  }
}
