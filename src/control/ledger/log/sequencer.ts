import { Backoff } from '../../../base/backoff.ts';
import type { Clock } from '../../../base/clock.ts';
import { sleep } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { isAbort } from '../../../base/tasks.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import type { Checkpoint } from '../../../core/audit/checkpoint.ts';
import { encodeCheckpoint } from '../../../core/audit/checkpoint.ts';
import { encodeNote, signNote } from '../../../core/audit/note.ts';
import { TreeEdge } from '../../../core/audit/tree-edge.ts';
import type { Ledger } from '../ledger.ts';
import { entryOf, KeyCache } from './entry.ts';
import { Growth } from './growth.ts';
import type { LogKeys } from './keys.ts';
import type { CheckpointLock } from './lock.ts';
import type { LogFiles } from './log-files.ts';
import type { LogState, Published } from './recover.ts';
import { recover } from './recover.ts';

export interface SequencerOptions {
  readonly ledger: Pick<Ledger, 'read' | 'size' | 'keyOf'>;
  readonly files: LogFiles;
  readonly lock: CheckpointLock;
  readonly keys: LogKeys;
  readonly clock: Clock;
  readonly logger: Logger;
  /** See `RecoverOptions`. Default false. */
  readonly databaseRestored?: boolean;
  readonly limits?: Partial<SequencerLimits>;
}

export interface SequencerLimits {
  /** Between two checkpoints, in milliseconds. Default 500. */
  readonly periodMs: number;
  /** Batches that one checkpoint adds at most; more wait for the next, which then follows at once. Default 2,048. */
  readonly batches: number;
}

const DEFAULT_LIMITS: SequencerLimits = { periodMs: 500, batches: 2048 };

/**
 * Puts the batches of a ledger into a log that everybody can check, in the order in which they became durable: batch n of the
 * ledger is leaf n. What stands in the log follows from the ledger, so a batch is there once, whatever happened in between.
 *
 * A step: (1) all that the files gain is staged, durably, with the signed checkpoint; (2) the checkpoint takes the place of the
 * one before in the lock, by compare and swap: from here on it counts, and nothing else can; (3) what was staged is applied;
 * (4) the checkpoint is published; (5) the staging is dropped. After a failure anywhere the same code as at the start finds
 * out how far it came, and finishes it or forgets it.
 */
export class Sequencer {
  readonly #o: SequencerOptions;
  readonly #limits: SequencerLimits;
  readonly #keyCache: KeyCache;
  readonly #published: WatchSource<Published>;
  #state: LogState;
  /** Whether `#state` is what is stored: not after a failure. */
  #isCertain = true;
  #problem: string | undefined;

  private constructor(o: SequencerOptions, state: LogState) {
    this.#o = o;
    this.#limits = { ...DEFAULT_LIMITS, ...o.limits };
    this.#keyCache = new KeyCache(o.ledger);
    this.#state = state;
    this.#published = new WatchSource(state.published);
  }

  /**
   * Recovers the log, or begins it.
   *
   * @throws AppError `incompatible-data` for a log that must not go on: see `recover`; `conflict` when another process writes it
   */
  static async open(o: SequencerOptions): Promise<Sequencer> {
    return new Sequencer(o, (await recoverNow(o)) ?? (await begin(o)));
  }

  /** What everybody may see. Every batch below its size is in the log for ever. */
  get published(): Watch<Published> {
    return this.#published;
  }

  /** Why the log does not grow, if it does not. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /**
   * Until `signal` aborts. What fails is logged and tried again, with growing delays. Rejects when the log must not go on:
   * then this process must not either.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, ledger, logger } = this.#o;
    const backoff = new Backoff();
    while (!signal.aborted) {
      try {
        const { version } = ledger.size;
        if (await this.step()) await sleep(clock, this.#limits.periodMs, signal);
        else await ledger.size.next(version, signal);
        backoff.reset();
      } catch (error) {
        if (isAbort(error, signal)) return;
        if (isFatal(error)) throw error;
        logger.error(
          { err: error, size: this.#state.edge.size },
          'the audit log cannot grow: what is recorded stays pending',
        );
        await sleep(clock, backoff.nextMs(), signal);
      }
    }
  }

  /** Takes one step; false when there was nothing to do. A failure leaves it to the next call to find out how far it came. */
  async step(): Promise<boolean> {
    try {
      if (!this.#isCertain) await this.#recoverAgain();
      const growth = await this.#grow();
      if (growth !== undefined) await this.#commit(growth);
      this.#problem = undefined;
      return growth !== undefined;
    } catch (error) {
      this.#isCertain = false;
      this.#problem = error instanceof AppError ? error.message : 'Its files cannot be written.';
      throw error;
    }
  }

  async #grow(): Promise<Growth | undefined> {
    const { ledger } = this.#o;
    const { edge, end } = this.#state;
    if (ledger.size.current <= edge.size) return undefined;
    const growth = new Growth(edge, end);
    for await (const batch of ledger.read(edge.size)) {
      if (batch.leaf !== growth.edge.size)
        throw new AppError('internal', `Batch ${batch.leaf} of the ledger came in the place of ${growth.edge.size}.`);
      growth.add(entryOf(batch, await this.#keyCache.get(batch.keyRecord)));
      if (growth.edge.size - edge.size >= this.#limits.batches) break;
    }
    return growth.edge.size === edge.size ? undefined : growth;
  }

  async #commit(growth: Growth): Promise<void> {
    const next = await commit(this.#o, this.#state.locked, growth);
    this.#state = next;
    this.#published.set(next.published);
  }

  async #recoverAgain(): Promise<void> {
    const state = await recoverNow(this.#o);
    if (state === undefined) throw new AppError('incompatible-data', 'The audit log is gone while it was written.');
    this.#state = state;
    this.#isCertain = true;
    if (state.published.checkpoint.size > this.#published.current.checkpoint.size) this.#published.set(state.published);
  }
}

function recoverNow(o: SequencerOptions): Promise<LogState | undefined> {
  return recover({ ...o, ledgerSize: o.ledger.size.current, databaseRestored: o.databaseRestored ?? false });
}

/** An empty log: its checkpoint goes the same way as all others. */
function begin(o: SequencerOptions): Promise<LogState> {
  return commit(o, undefined, new Growth(TreeEdge.empty(), 0));
}

async function commit(o: SequencerOptions, before: Buffer | undefined, growth: Growth): Promise<LogState> {
  const { files, lock, keys } = o;
  const checkpoint: Checkpoint = Object.freeze({
    origin: keys.origin,
    size: growth.edge.size,
    root: growth.edge.root(),
  });
  const note = encodeNote(signNote(encodeCheckpoint(checkpoint), keys.signers));
  const staged = { note, writes: growth.writes };
  await files.stage(staged);
  if (!(await lock.swap(before, note)))
    throw new AppError(
      'conflict',
      `Another process writes the audit log ${keys.origin}. Give this one an origin of its own, or stop the other.`,
    );
  await files.apply(staged);
  await files.publish(checkpoint.size, note);
  await files.dropStaging();
  return { locked: note, published: Object.freeze({ checkpoint, note }), edge: growth.edge, end: growth.end };
}

function isFatal(error: unknown): boolean {
  return error instanceof AppError && (error.code === 'incompatible-data' || error.code === 'conflict');
}
