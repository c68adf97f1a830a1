import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { ShipHello } from '../../core/audit/ship.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { fromShipRequest, toShipResponse } from '../../wire/audit.ts';
import type { AuditHandlers } from '../../wire/gen/writ/v1/Audit.ts';
import type { ShipRequest__Output } from '../../wire/gen/writ/v1/ShipRequest.ts';
import type { ShipResponse } from '../../wire/gen/writ/v1/ShipResponse.ts';
import type { CallContext } from './calls.ts';
import { streamForPeers } from './calls.ts';
import type { GrpcLimits } from './limits.ts';
import type { AuditPort } from './services.ts';
import { ShipSession } from './ship-session.ts';
import type { ServerStream } from './stream.ts';

type ShipStream = ServerStream<ShipRequest__Output, ShipResponse>;

/** The record of calls, from sidecars to the ledger. Who ships comes from the certificate, never from the message. */
export function auditHandlers(
  context: CallContext,
  audit: AuditPort,
  options: { readonly clock: Clock; readonly limits: GrpcLimits },
): AuditHandlers {
  return {
    Ship: streamForPeers(context, async (stream: ShipStream, peer) => {
      const hello = await receiveHello(stream, options.limits.firstMessageTimeoutMs, options.clock);
      const start = await audit.connect(callerOf(peer), hello);
      if ('nack' in start) {
        await stream.send(toShipResponse({ nack: start.nack }));
        return;
      }
      try {
        const logged =
          hello.log === undefined
            ? undefined
            : audit.log?.follow(hello.log, (size) => start.session.loggedThrough(size), stream.signal);
        const welcome = { ...start.welcome, ...(logged !== undefined && { sendsLog: true }) };
        await stream.send(toShipResponse({ welcome }));
        await new ShipSession(stream, start.session, welcome.creditBatches, logged).run();
      } finally {
        start.session.close();
      }
    }),
  };
}

async function receiveHello(stream: ShipStream, timeoutMs: number, clock: Clock): Promise<ShipHello> {
  const message = await stream.receiveWithin(timeoutMs, clock);
  if (message === undefined) throw new AppError('invalid', 'The stream ended before hello.');
  const first = fromShipRequest(message);
  if (!('hello' in first)) throw new AppError('invalid', 'The first message must be hello.');
  return first.hello;
}

function callerOf(peer: PeerIdentity) {
  return { instanceId: peer.instanceId, spiffeId: peer.id.uri, certificate: peer.certificate };
}
