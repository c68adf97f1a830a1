import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { AdminEvent } from '../../core/audit/admin-event.ts';
import { masked } from '../../core/audit/admin-event.ts';
import type { EventProducer } from './producer.ts';

/** What is not given is empty, or 0; `count` is 1. The recorder adds the time, where it is not given. */
export type AdminFacts = Pick<AdminEvent, 'action' | 'outcome'> & Partial<Omit<AdminEvent, 'kind'>>;

/**
 * Where everything is said that administrators do, and that the control plane does by itself.
 *
 * Resolves when the event is durable in the ledger; rejects with `audit-unavailable` when it cannot be made durable, and then
 * what it is about is not done. Concurrent events are written together, in the order of the calls.
 */
export interface AdminRecorder {
  record(facts: AdminFacts): Promise<void>;
}

/** Records into the ledger, with the time of the call. What looks like a secret in a text is masked. */
export class LedgerAdminRecorder implements AdminRecorder {
  readonly #producer: Pick<EventProducer, 'append'>;
  readonly #clock: Clock;

  constructor(o: { readonly producer: Pick<EventProducer, 'append'>; readonly clock: Clock }) {
    this.#producer = o.producer;
    this.#clock = o.clock;
  }

  async record(facts: AdminFacts): Promise<void> {
    try {
      await this.#producer.append(toEvent(facts, this.#clock.now()));
    } catch (cause) {
      throw new AppError(
        'audit-unavailable',
        'The audit ledger of the control plane cannot be written now, and nothing is changed that is not on the record. Look at its disk; then try again.',
        { cause, retryAfterSeconds: 5 },
      );
    }
  }
}

export function toEvent(facts: AdminFacts, now: number): AdminEvent {
  return {
    ...nothing,
    time: now,
    ...facts,
    kind: 'admin',
    operation: masked(facts.operation ?? ''),
    object: masked(facts.object ?? ''),
    query: masked(facts.query ?? ''),
    detail: masked(facts.detail ?? ''),
    reason: masked(facts.reason ?? ''),
  };
}

const nothing: Omit<AdminEvent, 'kind' | 'time' | 'action' | 'outcome'> = Object.freeze({
  actor: '',
  role: '',
  credential: '',
  source: '',
  operation: '',
  permission: '',
  object: '',
  query: '',
  request: '',
  status: 0,
  count: 1,
  lastTime: 0,
  before: '',
  after: '',
  detail: '',
  reason: '',
});
