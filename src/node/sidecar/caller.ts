import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { fingerprint } from '../../core/identity/bundle.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import type { Connection } from '../../core/policy/model.ts';
import { CLIENT_CERT_HEADER } from './http1-head.ts';

/** One open connection from another sidecar, and who is at its other end. */
export interface Caller {
  readonly socket: Socket;
  /** Undefined for plain text: nobody. */
  readonly peer: PeerIdentity | undefined;
  /** `x-forwarded-client-cert` as Envoy writes it (SANITIZE_SET), with the URI, name and value; empty for nobody. */
  readonly clientCert: readonly string[];
  /** What rules can ask of the connection. */
  readonly connection: Connection;
  /**
   * Whether the certificate that opened the connection still counts: it has not expired, its trust domain is trusted, and so
   * is the root that vouched for it. Of nobody: whether plain text is still let in. A connection may outlive that; a call on it may not.
   */
  readonly isValid: () => boolean;
}

export function describeCaller(
  socket: TLSSocket,
  peer: PeerIdentity,
  o: { readonly self: string; readonly isValid: () => boolean },
): Caller {
  const clientCert = `By=${o.self};Hash=${fingerprint(peer.certificate)};URI=${peer.id.uri}`;
  return {
    socket,
    peer,
    clientCert: [CLIENT_CERT_HEADER, clientCert],
    connection: connectionOf(socket),
    isValid: o.isValid,
  };
}

/** Whoever speaks plain text, where that is let in. */
export function describeNobody(socket: Socket, o: { readonly isValid: () => boolean }): Caller {
  return { socket, peer: undefined, clientCert: [], connection: connectionOf(socket), isValid: o.isValid };
}

function connectionOf(socket: Socket): Connection {
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
