import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import type { PolicyHandlers } from '../../wire/gen/writ/v1/Policy.ts';
import type { WatchPolicyRequest__Output } from '../../wire/gen/writ/v1/WatchPolicyRequest.ts';
import type { PolicyHello } from '../../wire/policy.ts';
import { fromPolicyMessage } from '../../wire/policy.ts';
import type { CallContext } from './calls.ts';
import { streamForPeers } from './calls.ts';
import { Labels } from './labels.ts';
import type { GrpcLimits } from './limits.ts';
import { PolicySession } from './policy-session.ts';
import type { PolicyPort } from './services.ts';
import { QuarantineBytes, SnapshotBytes } from './snapshot-bytes.ts';
import type { ServerStream } from './stream.ts';

type PolicyStream = ServerStream<WatchPolicyRequest__Output, Buffer>;

/** Pushes to each connected sidecar what concerns its workload. Which one that is comes from its certificate. */
export function policyHandlers(
  context: CallContext,
  policy: PolicyPort,
  options: { readonly clock: Clock; readonly limits: GrpcLimits },
): PolicyHandlers {
  const { clock, limits } = options;
  const { entries, changes } = policy;
  const labels = new Labels({ entries, changes, clock, logger: context.logger });
  context.stopping.addEventListener('abort', () => labels.close(), { once: true });
  const bytes = new SnapshotBytes();
  const quarantineBytes = new QuarantineBytes();
  const watch = streamForPeers(context, async (stream: PolicyStream, peer: PeerIdentity) => {
    const hello = await receiveHello(stream, limits.firstMessageTimeoutMs, clock);
    const spiffeId = peer.id.uri;
    const followed = await labels.follow(spiffeId);
    try {
      const { version, inbound, haveHash, features = [] } = hello;
      const connection = await policy.proxies.connect({ instanceId: peer.instanceId, spiffeId, version, inbound });
      const workload = { spiffeId, instanceId: peer.instanceId, labels: followed.labels };
      const { published, quarantine } = policy;
      const session = new PolicySession({
        stream,
        connection,
        published,
        ...(quarantine !== undefined && { quarantine }),
        workload,
        bytes,
        quarantineBytes,
        haveHash,
        features,
        clock,
        limits,
      });
      try {
        await session.run();
      } finally {
        await connection.close({ goodbye: session.saidGoodbye });
      }
    } finally {
      followed.release();
    }
  });
  // The bytes of an encoded snapshot pass through: see wire/loader.ts.
  return { Watch: watch as unknown as PolicyHandlers['Watch'] };
}

async function receiveHello(stream: PolicyStream, timeoutMs: number, clock: Clock): Promise<PolicyHello> {
  const message = await stream.receiveWithin(timeoutMs, clock);
  if (message === undefined) throw new AppError('invalid', 'The stream ended before hello.');
  const first = fromPolicyMessage(message);
  if (first.kind !== 'hello') throw new AppError('invalid', 'The first message must be hello.');
  return first;
}
