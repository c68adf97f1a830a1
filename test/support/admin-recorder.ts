import { AppError } from '../../src/base/errors.ts';
import type { AdminRecorder } from '../../src/control/ledger/admin-recorder.ts';
import { toEvent } from '../../src/control/ledger/admin-recorder.ts';
import type { AdminEvent } from '../../src/core/audit/admin-event.ts';
import { decodeEvent, encodeEvent } from '../../src/core/audit/canonical.ts';

export interface ListAdminRecorder extends AdminRecorder {
  /** What was recorded, in order, as the ledger would hold it. */
  readonly events: readonly AdminEvent[];
  /**
   * What becomes of the next ones: recorded, refused with `audit-unavailable` as with a full disk, or neither, as with a disk
   * that hangs, until it is `pass` again.
   */
  mode: 'pass' | 'fail' | 'hang';
  /** As `mode`, for those that it says yes to only. */
  fails?: ((event: AdminEvent) => boolean) | undefined;
}

/** A recorder that keeps events in a list. */
export function listAdminRecorder(clock: { now(): number }): ListAdminRecorder {
  const events: AdminEvent[] = [];
  const recorder: ListAdminRecorder = {
    events,
    mode: 'pass',
    async record(facts) {
      const event = decodeEvent(encodeEvent(toEvent(facts, clock.now()))) as AdminEvent;
      // As the real one: never in the same breath.
      await Promise.resolve();
      while (recorder.mode === 'hang') await new Promise((resolve) => setImmediate(resolve));
      if (recorder.mode === 'fail' || recorder.fails?.(event) === true)
        throw new AppError('audit-unavailable', 'The audit ledger of the control plane cannot be written now.');
      events.push(event);
    },
  };
  return recorder;
}
