import { AppError } from '../../src/base/errors.ts';
import type { IdentityFacts, Recorder } from '../../src/control/ledger/recorder.ts';

export interface ListRecorder extends Recorder {
  /** What was recorded, in order. */
  readonly events: readonly IdentityFacts[];
  /** From now on (or no longer) nothing can be recorded: `record` rejects with `unavailable`, as with a full disk. */
  fail(failing?: boolean): void;
}

/** A recorder that keeps events in a list. */
export function listRecorder(): ListRecorder {
  const events: IdentityFacts[] = [];
  let isFailing = false;
  return {
    events,
    fail(failing = true) {
      isFailing = failing;
    },
    async record(event) {
      // As the real one: never in the same breath.
      await Promise.resolve();
      if (isFailing) throw new AppError('unavailable', 'The audit ledger cannot be written.');
      events.push(Object.freeze({ ...event }));
    },
  };
}

/** An identity event with everything that does not matter for a test left empty. */
export function identityFacts(change: Partial<IdentityFacts> = {}): IdentityFacts {
  return {
    action: 'x509-svid',
    outcome: 'granted',
    subject: 'spiffe://example.org/ns/shop/sa/orders',
    actor: 'control-plane',
    entry: '',
    instance: '',
    serial: '',
    method: '',
    selectors: [],
    audience: [],
    expiresAt: 0,
    reason: '',
    source: '',
    ...change,
  };
}
