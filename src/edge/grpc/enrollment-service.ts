import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import { fromAttestRequest, toAttestResponse, toChallenge } from '../../wire/enrollment.ts';
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

type AttestStream = ServerStream<AttestRequest__Output, AttestResponse>;

/** Challenges in one attestation: a method that needs more is broken. */
const MAX_CHALLENGES = 8;

/**
 * The one service for callers without an identity. Each source address has a rate, counted before anything is done for it. One
 * that has an identity and attests again may show it: a workload then stays the same instance.
 */
export function enrollmentHandlers(
  context: CallContext,
  enrollment: EnrollmentPort,
  options: { readonly clock: Clock; readonly limits: GrpcLimits },
): EnrollmentHandlers {
  const { clock, limits } = options;
  const rate = new RateLimit({ perSecond: limits.attestationsPerSecond, burst: limits.attestationBurst, clock });
  return {
    Attest: streamForAll(context, async (stream: AttestStream, call) => {
      const source = sourceOf(call.getPeer());
      rate.take(source);
      const begin = await receiveBegin(stream, limits.firstMessageTimeoutMs, clock);
      const challenge = challenger(stream, limits.firstMessageTimeoutMs, clock);
      const caller = context.peers.identifyIfAny(call);
      const { svid, entry, bundle } = await enrollment.attest({ ...begin, source, challenge, caller });
      const certificate = certificateOf(svid);
      await stream.send(toAttestResponse({ certificate, bundle, ...(entry !== undefined && { entry }) }));
    }),
  };
}

async function receiveBegin(stream: AttestStream, timeoutMs: number, clock: Clock) {
  const message = await stream.receiveWithin(timeoutMs, clock);
  if (message === undefined) throw new AppError('invalid', 'The stream ended before begin.');
  const step = fromAttestRequest(message);
  if (step.kind !== 'begin') throw new AppError('invalid', 'The first message must be begin.');
  return step.begin;
}

/** One question, one answer, each answer within the time for a message. */
function challenger(stream: AttestStream, timeoutMs: number, clock: Clock): (question: Buffer) => Promise<Buffer> {
  let asked = 0;
  return async (question) => {
    asked += 1;
    if (asked > MAX_CHALLENGES) throw new AppError('internal', 'The attestation method asks without end.');
    await stream.send(toChallenge(question));
    const message = await stream.receiveWithin(timeoutMs, clock);
    if (message === undefined) throw new AppError('invalid', 'The stream ended before the challenge was answered.');
    const step = fromAttestRequest(message);
    if (step.kind !== 'challenge-response') throw new AppError('invalid', 'begin comes once, first.');
    return step.response;
  };
}
