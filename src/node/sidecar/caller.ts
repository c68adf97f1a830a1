import type { TLSSocket } from 'node:tls';
import { fingerprint } from '../../core/identity/bundle.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import type { Connection } from '../../core/policy/model.ts';

/** One open connection from another sidecar, and who is at its other end. */
export interface Caller {
  readonly socket: TLSSocket;
  readonly peer: PeerIdentity;
  /** Value of `x-forwarded-client-cert`, as Envoy writes it (SANITIZE_SET), with the URI. */
  readonly clientCert: string;
  /** What rules can ask of the connection. */
  readonly connection: Connection;
  /**
   * Whether the certificate that opened the connection still counts: it has not expired, its trust domain is trusted, and so
   * is the root that vouched for it. A connection may outlive that; a call on it may not.
   */
  readonly isValid: () => boolean;
}

export function describeCaller(
  socket: TLSSocket,
  peer: PeerIdentity,
  o: { readonly self: string; readonly isValid: () => boolean },
): Caller {
  const clientCert = `By=${o.self};Hash=${fingerprint(peer.certificate)};URI=${peer.id.uri}`;
  return { socket, peer, clientCert, connection: connectionOf(socket), isValid: o.isValid };
}

function connectionOf(socket: TLSSocket): Connection {
  const { remoteAddress, localAddress } = socket;
  // Not in the types of Node: what the caller asked for in its handshake, false for nothing.
  const { servername } = socket as { readonly servername?: string | false | null };
  return Object.freeze({
    ...(remoteAddress !== undefined && { peerIp: remoteAddress }),
    ...(localAddress !== undefined && { ownIp: localAddress }),
    // Names are compared in lower case; a client may write them as it likes.
    ...(typeof servername === 'string' && servername !== '' && { sni: servername.toLowerCase() }),
  });
}
