import type { Clock } from '../clock.ts';
import { reason } from '../durable.ts';
import { AppError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { RandomBytes } from '../random.ts';
import { secureRandom } from '../random.ts';
import type { Watch } from '../watch.ts';
import { WatchSource } from '../watch.ts';
import type { Files } from './files.ts';
import { JournalReader } from './reader.ts';
import type { Damage } from './recover.ts';
import { recover, rescan } from './recover.ts';
import type { Run } from './segment.ts';
import { SegmentWriter } from './writer.ts';

export interface JournalOptions {
  readonly files: Files;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
  /** What it holds, for example `spool`: a journal of another kind is refused. */
  readonly kind: string;
  /** A segment is closed when it would grow beyond. Default 16 MiB. */
  readonly segmentBytes?: number;
  /**
   * When an append resolves that does not say so itself. `fsync` (default): when the record is durable. `write`: when the
   * system has it; it survives the end of the process at once and a power cut 5 ms later.
   */
  readonly durability?: Durability;
  /** Do not read segments that hold only records below this number when opening. Default 0. */
  readonly scanFrom?: number;
  /** Called, synchronously, when appends have failed and the numbers of those that were waiting are taken back. */
  readonly onFailure?: () => void;
  /** Called when a new segment has begun, with its index. */
  readonly onSegment?: (index: number) => void;
  /**
   * Called when the file that was written to had been removed or replaced, and its records have been saved if they could be;
   * `next` is the number of the record that is written next.
   */
  readonly onRemoved?: (next: number) => void;
}

export type Durability = 'fsync' | 'write';

export interface AppendOptions {
  /** How long the record may wait for others to be written with, in milliseconds. Default 0. */
  readonly withinMs?: number;
  /** When the append resolves. Default: as the journal says. */
  readonly durability?: Durability;
}

const DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024;
/** Records that share one write and one fdatasync, at most. */
const MAX_GROUP_BYTES = 4 * 1024 * 1024;
const WRITE_SYNC_MS = 5;
/** How soon after a failure the disk is tried again; appends in between fail at once. */
const RETRY_MS = 100;

interface Waiting {
  readonly payload: Uint8Array;
  readonly number: number;
  readonly durability: Durability;
  readonly resolve: (number: number) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * An append-only log in segment files: numbered records with checksums, one writer, group commit. The directory belongs to
 * one process (`lockDirectory`).
 *
 * Records are numbered from 1 in the order of the calls of `append`. After a failed write or fdatasync nothing is retried on
 * that file, since the system may have dropped what it could not write (fsyncgate): what was promised is written again to a
 * new segment, which supersedes the old one.
 */
export class Journal {
  /** What recovery found missing or destroyed. */
  readonly damage: readonly Damage[];
  /** The damage ends the journal, so that there may have been records of any number behind it. */
  readonly openEnded: boolean;
  readonly #options: JournalOptions;
  readonly #runs: Run[];
  readonly #writer: SegmentWriter;
  readonly #durable: WatchSource<number>;
  #queue: Waiting[] = [];
  #inFlight: readonly Waiting[] = [];
  #next: number;
  /** Number of the last record whose append has resolved. */
  #promised = 0;
  #work: Promise<void> | undefined;
  #cancelSync: (() => void) | undefined;
  #syncDue = false;
  #failure: { readonly error: AppError; readonly at: number } | undefined;
  #closed = false;

  private constructor(options: JournalOptions, parts: JournalParts) {
    this.#options = options;
    this.damage = parts.damage;
    this.openEnded = parts.openEnded;
    this.#runs = parts.runs;
    this.#writer = parts.writer;
    const last = parts.runs.at(-1)?.last ?? 0;
    this.#durable = new WatchSource(last);
    this.#next = last + 1;
  }

  /** Recovers what is there. Throws `incompatible-data` for files of another version or kind, `unavailable` for I/O errors. */
  static async open(options: JournalOptions): Promise<Journal> {
    const { files, kind } = options;
    try {
      const recovered = await recover(files, kind, options.scanFrom ?? 0);
      const writer = new SegmentWriter({
        files,
        kind,
        clock: options.clock,
        logger: options.logger,
        random: options.random ?? secureRandom,
        segmentBytes: options.segmentBytes ?? DEFAULT_SEGMENT_BYTES,
        runs: recovered.runs,
        nextIndex: recovered.nextIndex,
        sizes: recovered.sizes,
        onSegment: (index) => options.onSegment?.(index),
        onRemoved: (next) => options.onRemoved?.(next),
      });
      return new Journal(options, { ...recovered, writer });
    } catch (cause) {
      if (cause instanceof AppError) throw cause;
      throw new AppError('unavailable', `Cannot read ${files.directory}: ${reason(cause)}.`, { cause });
    }
  }

  /** Number of the last durable record; 0 for none. */
  get durable(): Watch<number> {
    return this.#durable;
  }

  /** The number that the next appended record gets. */
  get next(): number {
    return this.#next;
  }

  /** Stretches of records that can be read, in order. */
  get runs(): readonly Readonly<Run>[] {
    return this.#runs;
  }

  /** Of all segment files. */
  get bytes(): number {
    return this.#writer.bytes;
  }

  /** Index of the newest segment. */
  get segmentIndex(): number {
    return this.#writer.index;
  }

  /**
   * Adds a record; resolves with its number when it is as durable as `durability` says. Rejects with `unavailable` when that
   * cannot be; the record may then still be found after a restart, never by readers of this process.
   *
   * A record that nobody waits for may be written with the next one, at the latest after `withinMs` (default 0): it then costs
   * no commit of its own. Until that it is in memory only.
   */
  append(payload: Uint8Array, o: AppendOptions = {}): Promise<number> {
    if (this.#closed) return Promise.reject(new AppError('unavailable', `${this.#options.files.directory} is closed.`));
    return new Promise((resolve, reject) => {
      const durability = o.durability ?? this.#options.durability ?? 'fsync';
      this.#queue.push({ payload, number: this.#next++, durability, resolve, reject });
      if (o.withinMs === undefined) this.#kick();
      else this.#options.clock.after(o.withinMs, () => this.#kick());
    });
  }

  /** Lets numbering continue at `number` or later. Only before the first append. */
  skipTo(number: number): void {
    if (number <= this.#next) return;
    this.#next = number;
    this.#writer.skipTo(number);
  }

  /** A reader that starts at the record `from`. */
  reader(from: number): JournalReader {
    const runs = this.#runs;
    const durable = this.#durable;
    return new JournalReader(
      {
        files: this.#options.files,
        get last() {
          return durable.current;
        },
        locate: (number) => runs.findLast((run) => run.first <= number && number <= run.last),
      },
      from,
    );
  }

  /** After reading `number` has failed: forgets what cannot be read of the segment that holds it. */
  async forgetDamaged(number: number): Promise<void> {
    const run = this.#runs.find((r) => r.first <= number && number <= r.last);
    if (run === undefined) return;
    const position = this.#runs.indexOf(run);
    const left = (await rescan(this.#options.files, this.#options.kind, run.name))
      .filter((r) => r.first <= run.last && r.last >= run.first)
      .map((r) => Object.assign(r, { last: Math.min(r.last, run.last) }));
    // When the file itself is fine, the error has passed; but a loop must end.
    const intact = left.length === 1 && left[0]?.first === run.first && left[0].last === run.last;
    if (!intact) this.#runs.splice(position, 1, ...left);
  }

  /** Deletes the segments that hold only records before `number`, except the newest. One that cannot be deleted stays. */
  dropBefore(number: number): Promise<void> {
    return this.#writer.dropBefore(number);
  }

  /** Waits for what was appended, makes it durable and closes the files. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelSync?.();
    this.#syncDue = this.#writer.hasUnsynced;
    this.#kick();
    await this.#work;
    await this.#writer.close();
  }

  #kick(): void {
    this.#work ??= this.#run();
  }

  async #run(): Promise<void> {
    // What is appended in the same turn shares a commit.
    await Promise.resolve();
    while (this.#queue.length > 0 || this.#syncDue) {
      try {
        if (this.#queue.length > 0) await this.#commit();
        else await this.#sync();
      } catch (error) {
        this.#fail(error);
      }
    }
    this.#work = undefined;
  }

  async #commit(): Promise<void> {
    if (this.#failure !== undefined && this.#isTooSoon(this.#failure.at)) throw this.#failure.error;
    const group = this.#takeGroup();
    await this.#writer.write(group.map((waiting) => waiting.payload));
    this.#failure = undefined;
    // One that must be durable makes those it shares a write with so too.
    if (group.every((waiting) => waiting.durability === 'write')) {
      this.#settle(group);
      this.#syncAfter(WRITE_SYNC_MS);
      if (this.#syncDue) await this.#sync();
    } else {
      await this.#sync();
      this.#settle(group);
    }
  }

  async #sync(): Promise<void> {
    this.#cancelSync?.();
    this.#cancelSync = undefined;
    this.#syncDue = false;
    await this.#writer.sync();
    if (this.#writer.durable > this.#durable.current) this.#durable.set(this.#writer.durable);
  }

  #syncAfter(ms: number): void {
    if (this.#closed) return;
    this.#cancelSync ??= this.#options.clock.after(ms, () => {
      this.#syncDue = true;
      this.#kick();
    });
  }

  #takeGroup(): readonly Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#queue) {
      if (count > 0 && bytes + waiting.payload.length > MAX_GROUP_BYTES) break;
      bytes += waiting.payload.length;
      count += 1;
    }
    this.#inFlight = this.#queue.slice(0, count);
    this.#queue = this.#queue.slice(count);
    return this.#inFlight;
  }

  #settle(group: readonly Waiting[]): void {
    this.#inFlight = [];
    this.#promised = group.at(-1)?.number ?? this.#promised;
    for (const waiting of group) waiting.resolve(waiting.number);
  }

  #fail(cause: unknown): void {
    const error = cause instanceof AppError ? cause : this.#describe(cause);
    if (error !== this.#failure?.error) {
      this.#failure = { error, at: this.#options.clock.now() };
      this.#options.logger.error({ err: error }, 'a journal cannot be written');
    }
    this.#writer.abandon(this.#promised);
    const rejected = [...this.#inFlight, ...this.#queue];
    this.#inFlight = [];
    this.#queue = [];
    this.#next = this.#writer.written + 1;
    // What was promised must become durable, whether or not anything follows.
    if (this.#writer.hasUnsynced) this.#syncAfter(RETRY_MS);
    this.#options.onFailure?.();
    for (const waiting of rejected) waiting.reject(error);
  }

  #isTooSoon(failedAt: number): boolean {
    const passed = this.#options.clock.now() - failedAt;
    // A clock that was set back must not keep us waiting.
    return passed >= 0 && passed < RETRY_MS;
  }

  #describe(cause: unknown): AppError {
    const why = cause instanceof Error && !('code' in cause) ? cause.message : reason(cause);
    return new AppError('unavailable', `Cannot write to ${this.#options.files.directory}: ${why}.`, { cause });
  }
}

interface JournalParts {
  readonly damage: readonly Damage[];
  readonly openEnded: boolean;
  readonly runs: Run[];
  readonly writer: SegmentWriter;
}
