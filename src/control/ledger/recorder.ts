import type { IdentityEvent } from '../../core/audit/event.ts';

/**
 * Where everybody who issues or refuses an identity says so, before anybody gets anything.
 *
 * Resolves when the event is durable in the ledger, and only then may what it is about leave the process. Rejects with
 * `unavailable` when it cannot be made durable; then nothing is issued. An event whose `record` was rejected is not in the
 * ledger as long as this process lives. Concurrent events are written together, in the order of the calls.
 */
export interface Recorder {
  record(event: IdentityFacts): Promise<void>;
}

/** The recorder adds the time. */
export type IdentityFacts = Omit<IdentityEvent, 'kind' | 'time'>;
