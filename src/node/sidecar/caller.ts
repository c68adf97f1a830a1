import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { fingerprint } from '../../core/identity/bundle.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';

/** One open connection from another sidecar, and who is at its other end. */
export interface Caller {
  readonly socket: TLSSocket;
  readonly peer: PeerIdentity;
  /** Value of `x-forwarded-client-cert`, as Envoy writes it (SANITIZE_SET), with the URI. */
  readonly clientCert: string;
}

export function describeCaller(socket: TLSSocket, peer: PeerIdentity, self: string): Caller {
  const clientCert = `By=${self};Hash=${fingerprint(peer.certificate)};URI=${peer.id.uri}`;
  return { socket, peer, clientCert };
}

/** A connection may outlive the certificate that opened it; a call on it may not. */
export function isExpired(caller: Caller, clock: Clock): boolean {
  return clock.now() > caller.peer.notAfter;
}
