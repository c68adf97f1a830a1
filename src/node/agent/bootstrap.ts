import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { TLSSocket } from 'node:tls';
import { connect } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseFingerprint, parsePemCertificates } from '../../core/identity/bundle.ts';
import { parseCertificate } from '../../core/identity/certificate.ts';
import { checkLeaf } from '../../core/identity/profile.ts';
import { splitAddress } from './address.ts';
import { sameBytes, servedCertificates, verifyControlPlane } from './control-plane-tls.ts';

/** What a newcomer knows of the control plane beforehand. There is no third way: nothing is trusted on first use. */
export type Trust =
  /** PEM file with the roots of the trust domain. */
  | { readonly bundleFile: string }
  /** SHA-256 of the root, as people write it. */
  | { readonly fingerprint: string };

export interface BootstrapOptions {
  /** host:port of the control plane's gRPC listener. */
  readonly server: string;
  readonly trust: Trust;
  readonly clock: Clock;
  /** To connect and finish the handshake. Default 5 s. */
  readonly timeoutMs?: number;
}

/**
 * Finds out what to trust before there is an identity: opens a TLS connection on which nothing but the handshake is sent,
 * and holds what the server presents against what was pinned. The bundle that comes back has the pinned roots and no JWT
 * keys; it is good for enrolling, which brings the whole one.
 *
 * @throws AppError `peer-refused` when the server is not the one that was pinned, `unavailable` when it cannot be reached,
 * `usage` when what was pinned cannot be read
 */
export async function bootstrapTrust(o: BootstrapOptions): Promise<TrustBundle> {
  const pinned = await readPinned(o.trust);
  const served = await fetchServed(o.server, o.timeoutMs ?? 5_000);
  const roots = 'roots' in pinned ? pinned.roots : served.filter((der) => sameBytes(sha256(der), pinned.digest));
  if (roots.length === 0) {
    throw new AppError(
      'peer-refused',
      `${o.server} did not present the pinned root. Either the fingerprint is of another installation, or this is not your control plane.`,
    );
  }
  const bundle: TrustBundle = Object.freeze({
    trustDomain: claimedTrustDomain(served),
    roots: Object.freeze([...roots]),
    jwks: { keys: [] },
    sequence: 0,
  });
  // Until here the trust domain is only a claim; the chain below the pinned root proves it.
  verifyControlPlane(served, bundle, o.clock.now());
  return bundle;
}

async function readPinned(trust: Trust): Promise<{ roots: readonly Buffer[] } | { digest: Buffer }> {
  if ('fingerprint' in trust) return { digest: Buffer.from(parseFingerprint(trust.fingerprint), 'hex') };
  let pem: string;
  try {
    pem = await readFile(trust.bundleFile, 'utf8');
  } catch (cause) {
    throw new AppError('usage', `Cannot read the trust bundle ${trust.bundleFile}: ${reason(cause)}.`, { cause });
  }
  return { roots: parsePemCertificates(pem) };
}

/** Verifies nothing: that is the caller's next step. */
function fetchServed(server: string, timeoutMs: number): Promise<readonly Buffer[]> {
  const { host, port } = splitAddress(server);
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({
      host,
      port,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
    });
    const end = () => {
      clearTimeout(timer);
      socket.destroy();
    };
    const fail = (cause: unknown) => {
      end();
      reject(
        new AppError('unavailable', `The control plane at ${server} could not be reached: ${reason(cause)}.`, {
          cause,
        }),
      );
    };
    const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    socket.once('error', fail);
    socket.once('secureConnect', () => {
      const served = servedCertificates(socket.getPeerCertificate(true));
      end();
      resolve(served);
    });
  });
}

function claimedTrustDomain(served: readonly Buffer[]): string {
  try {
    return checkLeaf(parseCertificate(served[0] ?? Buffer.alloc(0))).trustDomain;
  } catch (cause) {
    throw new AppError('peer-refused', 'The server presented no SPIFFE identity; it is not a control plane of Writ.', {
      cause,
    });
  }
}

function sha256(der: Buffer): Buffer {
  return hash('sha256', der, 'buffer');
}
