import { constants } from 'node:crypto';
import type { SecureContextOptions, TLSSocket, TlsOptions } from 'node:tls';
import { AppError } from '../../base/errors.ts';
import { presentedChain } from '../../base/peer-chain.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { bundlePem, certificatePem } from '../../core/identity/bundle.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { MAX_CHAIN_LENGTH, verifyPeer } from '../../core/identity/chain.ts';
import { hasRoot, rootFingerprintOf } from '../../core/identity/root-of.ts';
import type { Trust } from '../../core/identity/trust.ts';
import { bundleFor, verifyPeerIn } from '../../core/identity/trust.ts';
import type { Svid } from '../agent/svid.ts';

/** ALPN protocol of a plain TCP call between two sidecars. */
export const ALPN_TCP = 'writ-tcp';

/** TLS settings that hold on both sides of every connection of the mesh. */
function meshTls(svid: Svid): SecureContextOptions {
  return {
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    // Resumption would skip verifying the peer (CVE-2022-21654 in another proxy): no tickets, and no session store.
    secureOptions: constants.SSL_OP_NO_TICKET,
    key: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    cert: svid.chain.map(certificatePem).join(''),
  };
}

/** For connections that we open to one trust domain. OpenSSL is given its roots only, and `calleeIdentity` verifies again. */
export function clientTls(svid: Svid, bundle: TrustBundle): SecureContextOptions {
  return { ...meshTls(svid), ca: bundlePem(bundle) };
}

/**
 * For connections that others open to us, from any trust domain that is trusted. OpenSSL asks for a certificate and proves
 * that the peer holds its key; the path to a root is verified by `callerIdentity` alone, before a byte of the peer is read.
 *
 * OpenSSL is given no root on purpose. It knows no trust domains: with the roots of all of them, it would call an identity
 * of ours good that a federated authority has issued, so its word would still decide nothing. And once OpenSSL has found a
 * path, Node hands out only the leaf of what a client presented, so that nobody could verify the path again. Without roots
 * its verdict is always no: code that asked `socket.authorized` by mistake would refuse everybody, not let anybody in.
 */
export function serverTls(svid: Svid): TlsOptions {
  return { ...meshTls(svid), ca: [], requestCert: true, rejectUnauthorized: false };
}

/** Who opened a connection to us, and the root of its trust domain that vouches for it. */
export interface VerifiedCaller {
  readonly peer: PeerIdentity;
  /** Fingerprint. */
  readonly root: string;
}

/**
 * Who opened this connection to us: the whole chain as it was presented, verified with the bundle of the trust domain that
 * the leaf names. To be called once for each connection: Node gives the chain away the first time it is asked.
 *
 * @throws AppError `peer-refused`
 */
export function callerIdentity(socket: TLSSocket, trust: Trust, now: number): VerifiedCaller {
  if (socket.isSessionReused()) throw new AppError('peer-refused', 'The caller resumed an earlier TLS session.');
  const chain = presentedChain(socket, MAX_CHAIN_LENGTH);
  if (chain.length === 0) throw new AppError('peer-refused', 'The caller presented no certificate.');
  const peer = verifyPeerIn(chain, trust, { now });
  const bundle = bundleFor(trust, peer.id.trustDomain);
  const root = bundle === undefined ? undefined : rootFingerprintOf(chain, bundle);
  if (root === undefined) throw new AppError('peer-refused', "The caller's certificate leads to no root.");
  return Object.freeze({ peer, root });
}

/** Whether a caller that was verified still would be: its trust domain is trusted, and by the same root. */
export function isStillTrusted({ peer, root }: VerifiedCaller, trust: Trust): boolean {
  const bundle = bundleFor(trust, peer.id.trustDomain);
  return bundle !== undefined && hasRoot(bundle, root);
}

/**
 * Who answered our connection: the whole chain, verified again, and exactly the identity that was wanted.
 *
 * @throws AppError `peer-refused`
 */
export function calleeIdentity(socket: TLSSocket, bundle: TrustBundle, expected: string, now: number): PeerIdentity {
  if (socket.isSessionReused()) throw new AppError('peer-refused', 'The TLS session was resumed.');
  const peer = verifyPeer(presentedChain(socket, MAX_CHAIN_LENGTH), bundle, { now });
  if (peer.id.uri !== expected) {
    throw new AppError('peer-refused', `The endpoint is ${peer.id.uri}, and ${expected} was expected.`);
  }
  return peer;
}
