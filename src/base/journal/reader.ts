import { join } from 'node:path';
import { isMissing } from '../durable.ts';
import { AppError, toAppError } from '../errors.ts';
import type { Files, OpenFile } from './files.ts';
import type { Frame } from './frame.ts';
import { claimedLength, FRAME_BYTES, readFrame } from './frame.ts';
import type { Run } from './segment.ts';

/** What a reader needs of its journal: looked up anew for every run, since the journal grows and sheds segments. */
export interface ReaderSource {
  readonly files: Files;
  /** Number of the last durable record. */
  readonly last: number;
  /** The run that holds the record. */
  locate(number: number): Run | undefined;
}

const WINDOW_BYTES = 256 * 1024;

/** Reads records in order. It holds one open file: close it. Not for concurrent use. */
export class JournalReader {
  readonly #source: ReaderSource;
  #next: number;
  #run: Run | undefined;
  #file: OpenFile | undefined;
  #offset = 0;
  #window: Buffer = Buffer.alloc(0);
  #windowStart = 0;

  constructor(source: ReaderSource, from: number) {
    this.#source = source;
    this.#next = from;
  }

  /** Number of the record that `read` gives next. */
  get next(): number {
    return this.#next;
  }

  /**
   * The next record, or `undefined` when it is not durable yet. Throws `incompatible-data`, naming file and offset, when the
   * record is missing or damaged, and will throw it again.
   */
  async read(): Promise<Frame | undefined> {
    while (this.#next <= this.#source.last) {
      if (this.#run === undefined || this.#next > this.#run.last) await this.#enterRun();
      const frame = await this.#readFrame();
      if (frame.number < this.#next) continue;
      this.#next = frame.number + 1;
      return frame;
    }
    return undefined;
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#run = undefined;
    await file?.close();
  }

  async #enterRun(): Promise<void> {
    const run = this.#source.locate(this.#next);
    if (run === undefined) {
      throw new AppError('incompatible-data', `${this.#source.files.directory}: the record ${this.#next} is missing.`);
    }
    await this.close();
    try {
      this.#file = await this.#source.files.open(run.name);
    } catch (cause) {
      if (!isMissing(cause)) throw toAppError(cause);
      throw new AppError('incompatible-data', `${this.#pathOf(run)} is missing.`, { cause });
    }
    this.#run = run;
    this.#offset = run.marks.findLast((mark) => mark.number <= this.#next)?.offset ?? run.start;
    this.#window = Buffer.alloc(0);
    this.#windowStart = this.#offset;
  }

  async #readFrame(): Promise<Frame> {
    const run = this.#run as Run;
    await this.#fill(FRAME_BYTES, run);
    const length = claimedLength(this.#window, this.#offset - this.#windowStart);
    if (length !== undefined && length <= run.end - this.#offset) await this.#fill(FRAME_BYTES + length, run);
    const frame = readFrame(this.#window, this.#offset - this.#windowStart, run.salt);
    if (frame === undefined) {
      throw new AppError('incompatible-data', `${this.#pathOf(run)} is damaged at offset ${this.#offset}.`);
    }
    this.#offset = this.#windowStart + frame.end;
    return frame;
  }

  /** Sees to it that `bytes` bytes from the offset on are in the window, if the run has them. */
  async #fill(bytes: number, run: Run): Promise<void> {
    if (this.#offset + bytes <= this.#windowStart + this.#window.length) return;
    // A new buffer each time: payloads that were given out are views of the one before.
    const length = Math.min(Math.max(bytes, WINDOW_BYTES), run.end - this.#offset);
    this.#window = await (this.#file as OpenFile).read(this.#offset, Math.max(length, 0));
    this.#windowStart = this.#offset;
  }

  #pathOf(run: Run): string {
    return join(this.#source.files.directory, run.name);
  }
}
