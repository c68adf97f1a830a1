import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import type { DecisionEvent, GapEvent } from '../../../core/audit/event.ts';
import type { Recorder } from '../enforce.ts';

/** How long calls are counted before the counts are recorded, in milliseconds. */
const COUNT_MS = 10_000;
/** Different counts at a time: of who calls, by which rule. Beyond it they are recorded early. */
const MAX_COUNTS = 256;
/** Callers choose methods; others than these are counted together. */
const methods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT']);

interface Counted {
  readonly since: number;
  readonly of: Pick<GapEvent, 'source' | 'destination' | 'operation' | 'rule' | 'policyRevision'>;
  calls: number;
}

/** The time from one admission to the counts that go with it. */
interface Window {
  readonly since: number;
  /** Resolves when the admission is durable; until then no call may be counted. */
  readonly admitted: Promise<unknown>;
  readonly counts: Map<string, Counted>;
}

export interface DegradedOptions {
  /** Takes gaps although there is no room for calls. */
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Counts calls that are let in although they cannot be recorded one by one, where the operator has said that this is better
 * than refusing them. That it happens is on record, signed, before the first of them is forwarded; every ten seconds, and
 * when there is room again, so are the exact numbers. What a process that is killed had counted since then is lost, and the
 * admission without numbers says so.
 */
export class Degraded {
  readonly #o: DegradedOptions;
  #window: Window | undefined;
  /** What is counted and not recorded yet. Its size is bounded by the callers and rules that there are. */
  readonly #owed = new Map<string, Counted>();
  #cancel: (() => void) | undefined;
  #recording: Promise<void> = Promise.resolve();
  #total = 0;

  constructor(o: DegradedOptions) {
    this.#o = o;
  }

  /** Calls that were only counted, since the start. */
  get calls(): number {
    return this.#total;
  }

  /** Resolves when the call is counted and may be forwarded. Rejects when not even that can be on record. */
  async count(event: DecisionEvent): Promise<void> {
    const window = this.#window ?? this.#open();
    await window.admitted;
    // Its counts may have been recorded meanwhile.
    if (this.#window !== window) return this.count(event);
    const method = methods.has(event.method) ? event.method : 'other';
    const operation = `${event.protocol}${event.protocol === 'tcp' ? '' : `:${method}`}:${event.port}`;
    const { source, destination, rule, policyRevision } = event;
    const key = JSON.stringify([source, destination, operation, rule, policyRevision]);
    const counted = window.counts.get(key);
    if (counted !== undefined) counted.calls += 1;
    else
      window.counts.set(key, {
        since: window.since,
        of: { source, destination, operation, rule, policyRevision },
        calls: 1,
      });
    this.#total += 1;
    if (window.counts.size >= MAX_COUNTS) void this.settle();
  }

  /** Records what was counted. Never rejects: what cannot be recorded now is tried again the next time. */
  settle(): Promise<void> {
    this.#cancel?.();
    this.#cancel = undefined;
    const window = this.#window;
    this.#window = undefined;
    for (const [key, counted] of window?.counts ?? []) {
      const before = this.#owed.get(key);
      this.#owed.set(key, before === undefined ? counted : { ...before, calls: before.calls + counted.calls });
    }
    if (this.#owed.size > 0) this.#recording = this.#recording.then(() => this.#record());
    return this.#recording;
  }

  #open(): Window {
    const { clock, logger, recorder } = this.#o;
    const since = clock.now();
    logger.error('the audit spool is full: calls are let in and only counted, as this sidecar is configured');
    const admitted = recorder.append(gap(since), { durability: 'fsync' });
    const window: Window = { since, admitted, counts: new Map() };
    this.#window = window;
    admitted.then(
      () => {
        if (this.#window === window) this.#cancel = clock.after(COUNT_MS, () => void this.settle());
      },
      () => {
        if (this.#window === window) this.#window = undefined;
      },
    );
    return window;
  }

  async #record(): Promise<void> {
    const { clock, logger, recorder } = this.#o;
    for (const [key, { since, of, calls }] of [...this.#owed]) {
      this.#owed.delete(key);
      try {
        await recorder.append({ ...gap(clock.now()), calls, since, ...of }, { durability: 'fsync' });
      } catch (error) {
        logger.error({ err: error, calls, ...of }, 'how many calls were let in cannot be recorded yet');
        const later = this.#owed.get(key);
        this.#owed.set(key, { since, of, calls: calls + (later?.calls ?? 0) });
        return;
      }
    }
  }
}

/** Nothing that has a number is missing. */
function gap(time: number): GapEvent {
  return { kind: 'gap', time, reason: 'degraded', epoch: 0, fromSeq: 0 };
}
