import { constants } from 'node:crypto';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { bundlePem, certificatePem } from '../../core/identity/bundle.ts';
import { parseCertificate } from '../../core/identity/certificate.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { verifyPeer } from '../../core/identity/chain.ts';
import { checkLeaf } from '../../core/identity/profile.ts';
import type { Svid } from '../agent/svid.ts';

/** ALPN protocol of a plain TCP call between two sidecars. */
export const ALPN_TCP = 'writ-tcp';

/** TLS settings that hold on both sides of every connection of the mesh. */
export function meshTls(svid: Svid, bundle: TrustBundle): SecureContextOptions {
  return {
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    // Resumption would skip verifying the peer (CVE-2022-21654 in another proxy): no tickets, and no session store.
    secureOptions: constants.SSL_OP_NO_TICKET,
    key: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    cert: svid.chain.map(certificatePem).join(''),
    // Roots of the own trust domain only: nobody else's authority can bring a caller in.
    ca: bundlePem(bundle),
  };
}

/**
 * Who opened this connection to us. OpenSSL has verified the path from the leaf to a root of `bundle` (the only roots it
 * was given) before this is called; here the leaf is held against the SPIFFE profile.
 *
 * A Node server hands out only the leaf of what the peer presented, so the path is not verified a second time with
 * `verifyPeer`, as `calleeIdentity` does.
 *
 * @throws AppError `peer-refused`
 */
export function callerIdentity(socket: TLSSocket, bundle: TrustBundle, now: number): PeerIdentity {
  const certificate = socket.getPeerX509Certificate();
  if (!socket.authorized || certificate === undefined) {
    throw new AppError('peer-refused', 'The caller presented no certificate that this trust domain issued.');
  }
  if (socket.isSessionReused()) throw new AppError('peer-refused', 'The caller resumed an earlier TLS session.');
  try {
    const leaf = parseCertificate(certificate.raw);
    const id = checkLeaf(leaf);
    if (id.trustDomain !== bundle.trustDomain) {
      throw new AppError('invalid', `It belongs to the trust domain ${id.trustDomain}.`);
    }
    const { notBefore, notAfter, serial, subjectSerialNumber: instanceId } = leaf;
    if (now > notAfter) throw new AppError('invalid', 'It has expired.');
    return Object.freeze({ id, instanceId, serial, notBefore, notAfter, certificate: leaf.der });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new AppError('peer-refused', `The caller's certificate is refused. ${error.message}`, { cause: error });
  }
}

/**
 * Who answered our connection: the whole chain, verified again, and exactly the identity that was wanted.
 *
 * @throws AppError `peer-refused`
 */
export function calleeIdentity(socket: TLSSocket, bundle: TrustBundle, expected: string, now: number): PeerIdentity {
  if (socket.isSessionReused()) throw new AppError('peer-refused', 'The TLS session was resumed.');
  const peer = verifyPeer(presentedChain(socket), bundle, { now });
  if (peer.id.uri !== expected) {
    throw new AppError('peer-refused', `The endpoint is ${peer.id.uri}, and ${expected} was expected.`);
  }
  return peer;
}

/** A chain is a leaf and one intermediate; anything much longer is an attack on whoever verifies it. */
const MAX_CHAIN = 4;

/** What a server presented, leaf first, without a self-signed root; empty when it presented nothing. */
export function presentedChain(socket: TLSSocket): Buffer[] {
  const chain: Buffer[] = [];
  let certificate = socket.getPeerX509Certificate();
  while (certificate !== undefined && chain.length < MAX_CHAIN) {
    if (chain.length > 0 && certificate.subject === certificate.issuer) break;
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
}
