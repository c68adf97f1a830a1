import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { AdminFacts, AdminRecorder } from './admin-recorder.ts';

export interface AdminGroupsOptions {
  readonly recorder: AdminRecorder;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<AdminGroupsLimits>;
}

export interface AdminGroupsLimits {
  /** Different things that are counted at a time; more are recorded one by one. Default 2,048. */
  readonly groups: number;
  /** Events that wait to be recorded once that is possible again; beyond, only their number is. Default 2,048. */
  readonly backlog: number;
  /** How long somebody who reads waits for the record of it, in milliseconds. Default 500. */
  readonly patienceMs: number;
  /** How long until what could not be recorded is tried again, in milliseconds. Default 5,000. */
  readonly retryMs: number;
}

const DEFAULT_LIMITS: AdminGroupsLimits = { groups: 2048, backlog: 2048, patienceMs: 500, retryMs: 5_000 };

interface Group {
  readonly facts: AdminFacts;
  readonly endsAt: number;
  /** Of those that were not recorded yet. */
  count: number;
  firstTime: number;
  lastTime: number;
}

/**
 * Records what happens often: the first of its like at once, those that follow as one event with their number when the window
 * ends. So a process that dies leaves at least the first on the record, and with it that there may have been more until the
 * window's end.
 *
 * What cannot be recorded is kept and tried again; where there is no room for that, it is counted, and the number is recorded.
 * Lost is only what a process that dies still held because the ledger could not be written: the log of the server says then
 * that it held something.
 */
export class AdminGroups {
  readonly #options: AdminGroupsOptions;
  readonly #limits: AdminGroupsLimits;
  readonly #groups = new Map<string, Group>();
  #backlog: AdminFacts[] = [];
  /** Of which nothing but this is known. */
  #unrecorded = 0;
  #timer: { readonly at: number; readonly cancel: () => void } | undefined;
  #flushing: Promise<void> = Promise.resolve();
  #isFailing = false;
  #isClosed = false;

  constructor(options: AdminGroupsOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
  }

  /**
   * Resolves when it is on the record or counted, at the latest after `patienceMs`; never rejects.
   * @param facts without what differs from one to the next: those with equal facts are a group
   * @param first what the event of the first says besides
   * @param o.rest those behind the first: `count` them, or `forget` them, where other events tell of them
   * @param o.whenFull what is done with one of a new group when there are too many: `record` it alone, or only `count` it,
   *   which is for those that anybody can cause
   */
  async note(
    facts: AdminFacts,
    windowMs: number,
    first: Partial<AdminFacts> = {},
    o: { readonly rest?: 'count' | 'forget'; readonly whenFull?: 'record' | 'count' } = {},
  ): Promise<void> {
    const now = this.#options.clock.now();
    const key = JSON.stringify(facts);
    const group = this.#groups.get(key);
    if (group !== undefined && now < group.endsAt) {
      if (o.rest === 'forget') return;
      if (group.count === 0) group.firstTime = now;
      group.count += 1;
      group.lastTime = now;
      return;
    }
    if (group !== undefined) {
      this.#groups.delete(key);
      this.#flushing = this.#flushing.then(() => this.#close(group));
    }
    if (this.#groups.size < this.#limits.groups && !this.#isClosed) {
      this.#groups.set(key, { facts, endsAt: now + windowMs, count: 0, firstTime: now, lastTime: now });
      this.#schedule();
    } else if (o.whenFull === 'count') {
      this.#unrecorded += 1;
      this.#schedule();
      return;
    }
    await this.#patiently(this.keep({ ...facts, ...first, time: now }));
  }

  /** Records it, now or when that is possible again. Resolves after the first try; never rejects. */
  async keep(facts: AdminFacts): Promise<void> {
    try {
      await this.#options.recorder.record(facts);
      this.#settle();
    } catch (cause) {
      this.#failed(cause);
      if (this.#backlog.length < this.#limits.backlog) this.#backlog.push(facts);
      else this.#unrecorded += facts.count ?? 1;
      this.#schedule();
    }
  }

  /** Records all that was counted. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const [key, group] of this.#groups) {
      this.#groups.delete(key);
      await this.#close(group);
    }
    await this.#flushing;
    await this.#flush();
    const left = this.#backlog.length + this.#unrecorded;
    if (left > 0) this.#options.logger.error({ events: left }, 'what administrators did could not be recorded');
  }

  /** One timer, for whichever is due first. */
  #schedule(): void {
    if (this.#isClosed) return;
    const now = this.#options.clock.now();
    let at = Number.POSITIVE_INFINITY;
    for (const { endsAt } of this.#groups.values()) at = Math.min(at, endsAt);
    if (this.#backlog.length > 0 || this.#unrecorded > 0) at = Math.min(at, now + this.#limits.retryMs);
    if (at >= (this.#timer?.at ?? Number.POSITIVE_INFINITY)) return;
    this.#timer?.cancel();
    const cancel = this.#options.clock.after(Math.max(at - now, 0), () => {
      this.#timer = undefined;
      this.#flushing = this.#flushing.then(() => this.#flush()).then(() => this.#schedule());
    });
    this.#timer = { at, cancel };
  }

  async #flush(): Promise<void> {
    const now = this.#options.clock.now();
    const backlog = this.#backlog;
    this.#backlog = [];
    const due = [...this.#groups].filter(([, { endsAt }]) => endsAt <= now);
    for (const [key] of due) this.#groups.delete(key);
    await Promise.all([...backlog.map((facts) => this.keep(facts)), ...due.map(([, group]) => this.#close(group))]);
    if (this.#unrecorded === 0 || this.#backlog.length > 0) return;
    const count = this.#unrecorded;
    this.#unrecorded = 0;
    // Counted again should this fail.
    await this.keep({ action: 'unrecorded', outcome: 'failed', actor: 'control-plane', count });
  }

  async #close({ facts, count, firstTime, lastTime }: Group): Promise<void> {
    if (count > 0) await this.keep({ ...facts, count, time: firstTime, lastTime });
  }

  async #patiently(done: Promise<void>): Promise<void> {
    const gaveUp = new AbortController();
    await Promise.race([done, sleep(this.#options.clock, this.#limits.patienceMs, gaveUp.signal)]);
    gaveUp.abort();
  }

  #failed(cause: unknown): void {
    if (!this.#isFailing)
      this.#options.logger.error({ err: cause }, 'reads are answered that are not on the record yet');
    this.#isFailing = true;
  }

  #settle(): void {
    if (this.#isFailing) this.#options.logger.info('what administrators do is recorded again');
    this.#isFailing = false;
  }
}
