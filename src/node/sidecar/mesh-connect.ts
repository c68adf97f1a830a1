import type { ConnectionOptions, SecureContext, TLSSocket } from 'node:tls';
import { connect } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { splitAddress } from '../agent/address.ts';
import { calleeIdentity } from './mesh-tls.ts';

export interface MeshConnection {
  readonly socket: TLSSocket;
  readonly peer: PeerIdentity;
}

export interface MeshConnectOptions {
  readonly secureContext: SecureContext;
  readonly bundle: TrustBundle;
  /** host:port of a sidecar's inbound listener. */
  readonly address: string;
  /** The one SPIFFE ID that is accepted there. */
  readonly expected: string;
  readonly alpn: string;
  /** Close each direction by itself, as plain TCP needs it. */
  readonly halfOpen: boolean;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/**
 * Opens a connection to another sidecar. Resolves when the peer has proved to be exactly the expected identity; nothing
 * has been sent to it before but the TLS handshake. Rejects with `peer-refused` or `unavailable`.
 */
export function meshConnect(o: MeshConnectOptions): Promise<MeshConnection> {
  return new Promise((resolve, reject) => {
    const { host, port } = splitAddress(o.address);
    const options: ConnectionOptions & { readonly allowHalfOpen: boolean } = {
      host,
      port,
      secureContext: o.secureContext,
      minVersion: 'TLSv1.3',
      ALPNProtocols: [o.alpn],
      rejectUnauthorized: true,
      // Names in certificates of the mesh are SPIFFE IDs, compared below.
      checkServerIdentity: () => undefined,
      allowHalfOpen: o.halfOpen,
    };
    const socket = connect(options);
    const refuse = (error: unknown) => {
      clearTimeout(timer);
      socket.destroy();
      reject(
        error instanceof AppError
          ? error
          : new AppError('unavailable', `The sidecar at ${o.address} could not be reached.`, { cause: error }),
      );
    };
    const timer = setTimeout(() => refuse(new Error(`no connection within ${o.timeoutMs} ms`)), o.timeoutMs);
    socket.once('error', refuse);
    socket.once('secureConnect', () => {
      try {
        if (socket.alpnProtocol !== o.alpn) {
          throw new AppError('unavailable', `The sidecar at ${o.address} does not speak ${o.alpn}.`);
        }
        const peer = calleeIdentity(socket, o.bundle, o.expected, o.clock.now());
        clearTimeout(timer);
        socket.off('error', refuse);
        socket.setNoDelay(true);
        resolve({ socket, peer });
      } catch (error) {
        refuse(error);
      }
    });
  });
}
