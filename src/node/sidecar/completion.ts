import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Outcome, Recorder } from './enforce.ts';
import type { Cut } from './live/live-call.ts';

/** How long the end of a call may wait for the next decision, in milliseconds: alone it would double the writes to disk. */
const COMPLETION_WITHIN_MS = 5;

/** Records how a call ended. Not awaited by callers: the answer does not wait for it, and a loss is logged. */
export function recordCompletion(
  o: { readonly recorder: Recorder; readonly clock: Clock; readonly logger: Logger },
  call: { readonly id: string; readonly startedAt: number; readonly cut: Cut | undefined },
  outcome: Outcome,
): void {
  const { cut } = call;
  const now = o.clock.now();
  o.recorder
    .append(
      {
        kind: 'completion',
        call: call.id,
        time: now,
        // A clock that was set back must not yield a negative duration.
        durationMs: Math.max(0, now - call.startedAt),
        status: outcome.status,
        bytesIn: outcome.bytesIn,
        bytesOut: outcome.bytesOut,
        ...(cut !== undefined && { cutReason: cut.reason, cutRule: cut.rule, cutRevision: cut.revision }),
      },
      { withinMs: COMPLETION_WITHIN_MS },
    )
    .catch((error: unknown) => o.logger.error({ err: error }, 'the end of a call could not be recorded'));
}
