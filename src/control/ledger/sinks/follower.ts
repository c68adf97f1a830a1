import { Backoff } from '../../../base/backoff.ts';
import type { Clock } from '../../../base/clock.ts';
import { sleep } from '../../../base/clock.ts';
import { reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { AdminFacts } from '../admin-recorder.ts';
import type { Ledger, LoggedBatch } from '../ledger.ts';
import type { SinkMemory } from './cursor.ts';
import type { SinkItem, SinkPosition } from './item.ts';
import { itemsOf } from './item.ts';
import type { Sink, SinkGuarantee, SinkStatus } from './sink.ts';

export interface SinkFollowerOptions {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly guarantee: SinkGuarantee;
  readonly sink: Sink;
  readonly memory: SinkMemory;
  readonly ledger: Pick<Ledger, 'read' | 'size'>;
  /** Where a failure and its end are recorded. */
  readonly trail: { report(facts: AdminFacts): Promise<void> };
  readonly clock: Clock;
  readonly logger: Logger;
  /** Where a sink begins that has taken nothing yet. Default `start`: with the first event in the ledger. */
  readonly from?: 'start' | 'now';
  readonly limits?: Partial<SinkLimits>;
}

export interface SinkLimits {
  /** Events that are delivered together. Default 500. */
  readonly groupEvents: number;
  /** Their bytes in the ledger, unless one alone has more. Default 1 MiB. */
  readonly groupBytes: number;
  /** How long a delivery may take, in milliseconds. Default 30,000. */
  readonly deliveryMs: number;
  /** Longest pause between tries, in milliseconds. Default 60,000. */
  readonly maxPauseMs: number;
}

const DEFAULT_LIMITS: SinkLimits = {
  groupEvents: 500,
  groupBytes: 1024 * 1024,
  deliveryMs: 30_000,
  maxPauseMs: 60_000,
};
/** A sink that does not even say that it gives up is given up after so many milliseconds more. */
const GRACE_MS = 1_000;
const MAX_MESSAGE = 512;

/**
 * Brings the record to one sink: a follower of the ledger with a durable position of its own. It reads what is durable there,
 * so nothing that a receiver does can hold up the record of calls; a receiver that is away costs nothing but the memory of one
 * group and of the batch that it is from. What was delivered when the process ended, and not remembered, is delivered again.
 */
export class SinkFollower {
  readonly #o: SinkFollowerOptions;
  readonly #limits: SinkLimits;
  #at: SinkPosition = { leaf: 0, position: 0 };
  /** Whether `#at` was read: it is what is remembered from then on, or behind it when a write has failed and is there all the same. */
  #hasResumed = false;
  #state: SinkStatus['state'] = 'following';
  #since: number;
  #delivered = 0;
  #rejected = 0;
  /** When the batch at the position was received; undefined while nothing waits. */
  #waitingSince: number | undefined;
  #lastDeliveredAt: number | null = null;
  #lastError: SinkStatus['lastError'] = null;

  constructor(options: SinkFollowerOptions) {
    this.#o = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#since = options.clock.now();
  }

  get status(): SinkStatus {
    const { name, type, format, guarantee, ledger, clock } = this.#o;
    const lagBatches = this.#hasResumed ? Math.max(ledger.size.current - this.#at.leaf, 0) : ledger.size.current;
    const oldest = this.#waitingSince === undefined ? null : Math.max(clock.now() - this.#waitingSince, 0);
    return Object.freeze({
      ...{ name, type, format, guarantee },
      state: this.#state,
      since: this.#since,
      position: this.#at.leaf,
      lagBatches,
      lagMs: lagBatches === 0 ? 0 : oldest,
      delivered: this.#delivered,
      rejected: this.#rejected,
      lastDeliveredAt: this.#lastDeliveredAt,
      lastError: this.#lastError,
    });
  }

  /** Follows the ledger until `signal` aborts. Never rejects: what fails is shown, recorded and tried again, with growing pauses. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, ledger } = this.#o;
    const backoff = new Backoff({ initialMs: 250, maxMs: this.#limits.maxPauseMs });
    while (!signal.aborted) {
      try {
        const { version } = ledger.size;
        if (!this.#hasResumed) await this.#resume();
        await this.#catchUp(signal, backoff);
        await ledger.size.next(version, signal);
      } catch (error) {
        // Not `isAbort`: a transport that gave up in time says the same.
        if (signal.aborted) return;
        this.#failed(error);
        await sleep(clock, backoff.nextMs(), signal);
      }
    }
  }

  async #resume(): Promise<void> {
    const { memory, ledger, from, logger, name } = this.#o;
    const size = ledger.size.current;
    const known = await memory.read();
    let at = known ?? { leaf: from === 'now' ? size : 0, position: 0 };
    if (at.leaf > size || (at.leaf === size && at.position > 0)) {
      logger.error(
        { sink: name, position: at, ledger: size },
        'a sink is ahead of the ledger; it gets everything again',
      );
      at = { leaf: 0, position: 0 };
    }
    // Remembered at once: `now` must not move with every restart until something is delivered.
    if (known !== at) await memory.write(at);
    this.#at = at;
    this.#hasResumed = true;
  }

  async #catchUp(signal: AbortSignal, backoff: Backoff): Promise<void> {
    const { ledger } = this.#o;
    const group: SinkItem[] = [];
    let bytes = 0;
    let next = this.#at;
    const flush = async () => {
      if (next.leaf === this.#at.leaf && next.position === this.#at.position) return;
      await this.#deliver(group.splice(0), signal);
      bytes = 0;
      await this.#o.memory.write(next);
      this.#at = next;
      this.#waitingSince = undefined;
      this.#succeeded();
      backoff.reset();
    };
    while (!signal.aborted && this.#at.leaf < ledger.size.current) {
      const before = this.#at;
      for await (const batch of ledger.read(this.#at.leaf)) {
        for (const item of this.#itemsOf(batch)) {
          if (
            group.length >= this.#limits.groupEvents ||
            (group.length > 0 && bytes + item.size > this.#limits.groupBytes)
          ) {
            await flush();
            if (signal.aborted) return;
          }
          group.push(item);
          bytes += item.size;
          next = { leaf: item.leaf, position: item.position + 1 };
        }
        next = { leaf: batch.leaf + 1, position: 0 };
        if (signal.aborted) return;
      }
      await flush();
      // Nothing there to read yet, although it should be.
      if (this.#at === before) return;
    }
  }

  #itemsOf(batch: LoggedBatch): readonly SinkItem[] {
    this.#waitingSince ??= batch.receivedAt;
    return itemsOf(batch, batch.leaf === this.#at.leaf ? this.#at.position : 0);
  }

  /**
   * Of a group that the receiver refuses for good, what it does not take is found by halving; all else is delivered. Whoever takes
   * nothing of a group at all is not set up as it should be, and is tried again: by then there is more in the group, at least that
   * the sink has failed.
   */
  async #deliver(items: readonly SinkItem[], signal: AbortSignal): Promise<void> {
    const refused: { readonly item: SinkItem; readonly error: AppError }[] = [];
    await this.#divide(items, signal, refused);
    const [first] = refused;
    if (first === undefined) return;
    if (refused.length === items.length) {
      throw new AppError('unavailable', `It takes nothing: ${first.error.message}`, { cause: first.error });
    }
    for (const { item, error } of refused) await this.#reject(item, error);
  }

  async #divide(
    items: readonly SinkItem[],
    signal: AbortSignal,
    refused: { readonly item: SinkItem; readonly error: AppError }[],
  ): Promise<void> {
    const [first] = items;
    if (first === undefined) return;
    try {
      await this.#inTime(items, signal);
      this.#delivered += items.length;
      this.#lastDeliveredAt = this.#o.clock.now();
    } catch (error) {
      if (signal.aborted || !(error instanceof AppError) || error.code !== 'invalid') throw error;
      if (items.length === 1) {
        refused.push({ item: first, error });
        return;
      }
      const half = Math.ceil(items.length / 2);
      await this.#divide(items.slice(0, half), signal, refused);
      await this.#divide(items.slice(half), signal, refused);
    }
  }

  async #inTime(items: readonly SinkItem[], signal: AbortSignal): Promise<void> {
    const { sink, clock } = this.#o;
    const late = new AbortController();
    const done = new AbortController();
    const cancel = clock.after(this.#limits.deliveryMs, () => late.abort(new AppError('deadline-exceeded', tooLong)));
    const hung = sleep(clock, this.#limits.deliveryMs + GRACE_MS, done.signal).then(() => {
      throw new AppError('deadline-exceeded', tooLong);
    });
    hung.catch(() => undefined);
    const delivery = sink.deliver(items, AbortSignal.any([signal, late.signal]));
    delivery.catch(() => undefined);
    try {
      await Promise.race([delivery, hung, aborted(signal, done.signal)]);
    } finally {
      cancel();
      done.abort();
    }
  }

  async #reject(item: SinkItem, error: AppError): Promise<void> {
    const { memory, logger, name } = this.#o;
    logger.error({ sink: name, event: item.id, why: error.message }, 'a sink refuses an event for good');
    await memory.reject(item, error.message);
    this.#rejected += 1;
  }

  #failed(error: unknown): void {
    const { clock, logger, name, trail } = this.#o;
    const message = describe(error);
    this.#lastError = { at: clock.now(), message };
    logger.warn({ err: error, sink: name, leaf: this.#at.leaf }, 'a sink of the audit record cannot be written');
    if (this.#state === 'failing') return;
    this.#state = 'failing';
    this.#since = clock.now();
    void trail.report({ action: 'sink.failed', outcome: 'failed', object: name, reason: message });
  }

  #succeeded(): void {
    const { clock, logger, name, trail } = this.#o;
    if (this.#state === 'following') return;
    this.#state = 'following';
    this.#since = clock.now();
    logger.info({ sink: name, leaf: this.#at.leaf }, 'a sink of the audit record can be written again');
    void trail.report({ action: 'sink.recovered', outcome: 'done', object: name });
  }
}

const tooLong = 'The receiver has not answered in time.';

/** Rejects with the reason of `signal`, unless `done` comes first. */
function aborted(signal: AbortSignal, done: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = () => reject(signal.reason);
    if (signal.aborted) return end();
    signal.addEventListener('abort', end, { once: true, signal: done });
  });
}

/** Nothing of a foreign error but its short name: a receiver's words may hold what was sent to it. */
function describe(error: unknown): string {
  return (error instanceof AppError ? `${error.code}: ${error.message}` : `unavailable: ${reason(error)}`).slice(
    0,
    MAX_MESSAGE,
  );
}
