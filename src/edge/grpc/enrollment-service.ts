import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import { fromAttestRequest, toAttestResponse } from '../../wire/enrollment.ts';
import type { AttestRequest__Output } from '../../wire/gen/writ/v1/AttestRequest.ts';
import type { AttestResponse } from '../../wire/gen/writ/v1/AttestResponse.ts';
import type { EnrollmentHandlers } from '../../wire/gen/writ/v1/Enrollment.ts';
import type { CallContext } from './calls.ts';
import { streamForAll } from './calls.ts';
import { certificateOf } from './identity-service.ts';
import type { GrpcLimits } from './limits.ts';
import { RateLimit } from './rate-limit.ts';
import type { EnrollmentPort } from './services.ts';
import { sourceOf } from './source.ts';
import type { ServerStream } from './stream.ts';

/** The one service for callers without an identity. Each source address has a rate, counted before anything is done for it. */
export function enrollmentHandlers(
  context: CallContext,
  enrollment: EnrollmentPort,
  options: { readonly clock: Clock; readonly limits: GrpcLimits },
): EnrollmentHandlers {
  const { clock, limits } = options;
  const rate = new RateLimit({ perSecond: limits.attestationsPerSecond, burst: limits.attestationBurst, clock });
  return {
    Attest: streamForAll(context, async (stream: ServerStream<AttestRequest__Output, AttestResponse>, call) => {
      const source = sourceOf(call.getPeer());
      rate.take(source);
      const begin = await receiveBegin(stream, limits.firstMessageTimeoutMs, clock);
      const { svid, entry, bundle } = await enrollment.attest({ ...begin, source });
      await stream.send(toAttestResponse({ certificate: certificateOf(svid), bundle, entry }));
    }),
  };
}

async function receiveBegin(
  stream: ServerStream<AttestRequest__Output, AttestResponse>,
  timeoutMs: number,
  clock: Clock,
) {
  const message = await stream.receiveWithin(timeoutMs, clock);
  if (message === undefined) throw new AppError('invalid', 'The stream ended before begin.');
  const step = fromAttestRequest(message);
  if (step.kind !== 'begin') throw new AppError('invalid', 'The first message must be begin.');
  return step.begin;
}
