import type { Clock } from '../../base/clock.ts';
import type { IdentityEvent } from '../../core/audit/event.ts';
import type { EventProducer } from './producer.ts';

/**
 * Where everybody who issues or refuses an identity says so, before anybody gets anything.
 *
 * Resolves when the event is durable in the ledger, and only then may what it is about leave the process. Rejects with
 * `unavailable` when it cannot be made durable; then nothing is issued. Concurrent events are written together, in the order
 * of the calls.
 */
export interface Recorder {
  record(event: IdentityFacts): Promise<void>;
}

/** The recorder adds the time. */
export type IdentityFacts = Omit<IdentityEvent, 'kind' | 'time'>;

/** Records into the ledger, with the time of the call. */
export class LedgerRecorder implements Recorder {
  readonly #producer: Pick<EventProducer, 'append'>;
  readonly #clock: Clock;

  constructor(o: { readonly producer: Pick<EventProducer, 'append'>; readonly clock: Clock }) {
    this.#producer = o.producer;
    this.#clock = o.clock;
  }

  record(facts: IdentityFacts): Promise<void> {
    return this.#producer.append({ ...facts, kind: 'identity', time: this.#clock.now() });
  }
}
