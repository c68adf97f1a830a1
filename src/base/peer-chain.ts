import type { TLSSocket } from 'node:tls';

/**
 * What a peer presented, leaf first, DER, without a self-signed root; empty when it presented nothing. At most `max` and one
 * more, so that a chain that is too long is seen to be too long, and not cut to one that fits. Nothing is verified here.
 *
 * To be called once for each connection: Node gives the chain away the first time it is asked.
 */
export function presentedChain(socket: Pick<TLSSocket, 'getPeerX509Certificate'>, max: number): Buffer[] {
  const chain: Buffer[] = [];
  let certificate = socket.getPeerX509Certificate();
  while (certificate !== undefined && chain.length <= max) {
    if (chain.length > 0 && certificate.subject === certificate.issuer) break;
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
}
