import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import { RateLimit } from '../../base/rate-limit.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import type { X509Svid } from '../../core/identity/x509-svid.ts';
import type { IdentityHandlers } from '../../wire/gen/writ/v1/Identity.ts';
import type { RenewRequest__Output } from '../../wire/gen/writ/v1/RenewRequest.ts';
import type { SignJwtRequest__Output } from '../../wire/gen/writ/v1/SignJwtRequest.ts';
import type { SignWitRequest__Output } from '../../wire/gen/writ/v1/SignWitRequest.ts';
import type { SignX509Request__Output } from '../../wire/gen/writ/v1/SignX509Request.ts';
import type { WatchIdentityRequest__Output } from '../../wire/gen/writ/v1/WatchIdentityRequest.ts';
import type { IssuedCertificate } from '../../wire/identity.ts';
import { fromRenewRequest, toRenewResponse } from '../../wire/identity.ts';
import * as sign from '../../wire/identity-sign.ts';
import type { IdentityHello } from '../../wire/identity-watch.ts';
import { fromIdentityMessage } from '../../wire/identity-watch.ts';
import type { CallContext } from './calls.ts';
import { streamForPeers, unaryForPeers } from './calls.ts';
import { Differences } from './identity-difference.ts';
import { IdentitySession } from './identity-session.ts';
import type { GrpcLimits } from './limits.ts';
import type { AgentsPort, IdentityPort } from './services.ts';
import type { ServerStream } from './stream.ts';

type IdentityStream = ServerStream<WatchIdentityRequest__Output, Buffer>;

/**
 * Identities for callers that have one. Whose it is comes from the certificate, never from the message. Each caller has a rate,
 * counted in signatures before anything is done for it (S4): an agent that was taken over cannot hold up the others.
 */
export function identityHandlers(
  context: CallContext,
  services: { readonly identity: IdentityPort; readonly agents: AgentsPort },
  options: { readonly clock: Clock; readonly limits: GrpcLimits },
): IdentityHandlers {
  const { identity, agents } = services;
  const { clock, limits } = options;
  const rate = new RateLimit({ perSecond: limits.signaturesPerSecond, burst: limits.signatureBurst, clock });
  const spend = (peer: PeerIdentity, signatures: number) => rate.take(peer.instanceId, signatures);
  const differences = new Differences();
  const watch = streamForPeers(context, async (stream: IdentityStream, peer: PeerIdentity) => {
    const hello = await receiveHello(stream, limits.firstMessageTimeoutMs, clock);
    const { version, time } = hello;
    const connection = agents.connect({ instanceId: peer.instanceId, spiffeId: peer.id.uri, version, time });
    try {
      await new IdentitySession({ stream, connection, hello, differences, clock, limits }).run();
    } finally {
      connection.close();
    }
  });
  return {
    // The bytes of an encoded update pass through: see wire/protocol.ts.
    Watch: watch as unknown as IdentityHandlers['Watch'],
    SignX509: unaryForPeers(context, async (message: SignX509Request__Output, peer, source) => {
      const items = sign.fromSignX509Request(message);
      spend(peer, items.length);
      const results = await identity.signX509(peer, items, source);
      return sign.toSignX509Response(
        results.map((result) => ('value' in result ? { value: certificateOf(result.value) } : result)),
      );
    }),
    SignWit: unaryForPeers(context, async (message: SignWitRequest__Output, peer, source) => {
      const items = sign.fromSignWitRequest(message);
      spend(peer, items.length);
      return sign.toSignWitResponse(await identity.signWit(peer, items, source));
    }),
    SignJwt: unaryForPeers(context, async (message: SignJwtRequest__Output, peer, source) => {
      const order = sign.fromSignJwtRequest(message);
      spend(peer, 1);
      return sign.toSignJwtResponse(await identity.signJwt(peer, order, source));
    }),
    Renew: unaryForPeers(context, async (message: RenewRequest__Output, peer, source) => {
      const { csr } = fromRenewRequest(message);
      spend(peer, 1);
      return toRenewResponse(certificateOf(await identity.renew(peer, csr, source)));
    }),
  };
}

export function certificateOf(svid: X509Svid): IssuedCertificate {
  return {
    chain: svid.chain,
    spiffeId: svid.id.uri,
    instanceId: svid.instanceId,
    notBefore: svid.notBefore,
    notAfter: svid.notAfter,
  };
}

async function receiveHello(stream: IdentityStream, timeoutMs: number, clock: Clock): Promise<IdentityHello> {
  const message = await stream.receiveWithin(timeoutMs, clock);
  if (message === undefined) throw new AppError('invalid', 'The stream ended before hello.');
  const first = fromIdentityMessage(message);
  if (first.kind !== 'hello') throw new AppError('invalid', 'The first message must be hello.');
  return first;
}
