import type { DetailedPeerCertificate } from 'node:tls';
import { connect } from 'node:tls';
import type { Listen } from '../../base/config-types.ts';
import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';

/** Most certificates that are taken from a peer. */
const MAX_CHAIN = 8;

/** The chain that a TLS server presents, leaf first, DER. It is not verified here. Throws `unavailable`. */
export function presentedChain(address: Listen, timeoutMs: number): Promise<readonly Buffer[]> {
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown) => {
      socket.destroy();
      reject(new AppError('unavailable', `No TLS from ${address.host}:${address.port}: ${why}.`, { cause }));
    };
    const socket = connect({
      ...address,
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.3',
      // The caller verifies the chain as SPIFFE does; names in it mean nothing to OpenSSL.
      rejectUnauthorized: false,
    });
    socket.setTimeout(timeoutMs, () => fail('it did not answer in time'));
    socket.on('error', (error) => fail(reason(error), error));
    socket.once('secureConnect', () => {
      const chain = chainOf(socket.getPeerCertificate(true));
      socket.destroy();
      resolve(chain);
    });
  });
}

function chainOf(leaf: DetailedPeerCertificate): readonly Buffer[] {
  const chain: Buffer[] = [];
  let at: DetailedPeerCertificate | undefined = leaf;
  while (at?.raw !== undefined && chain.length < MAX_CHAIN) {
    chain.push(at.raw);
    // A self-signed certificate names itself as its issuer.
    at = at.issuerCertificate === at ? undefined : at.issuerCertificate;
  }
  return chain;
}
