import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from './bundle.ts';
import type { Certificate } from './certificate.ts';
import { parseCertificate } from './certificate.ts';
import { importPublicKey } from './keys.ts';
import { checkAuthority, checkLeaf } from './profile.ts';
import { verifySignature } from './signature.ts';
import type { SpiffeId } from './spiffe-id.ts';

/** Who a peer has proved to be, once TLS has shown that it holds the key. */
export interface PeerIdentity {
  readonly id: SpiffeId;
  /** Subject serialNumber: the enrolled instance; '' in a certificate that names none. */
  readonly instanceId: string;
  /** Lower-case hex. */
  readonly serial: string;
  /** Latest beginning and earliest end in the whole chain, milliseconds since the epoch: when this holds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** The leaf, DER. */
  readonly certificate: Buffer;
}

/** Longest path, root included. */
export const MAX_CHAIN_LENGTH = 5;

/**
 * Verifies a peer's certificate chain against the bundle of its own trust domain: RFC 5280 §6 as far as SPIFFE chains need it,
 * and X509-SVID.md §5. There is no clock tolerance; issuers backdate. Revocation lists are not read: SVIDs live an hour.
 *
 * Stricter than RFC 5280: names and key identifiers must match byte for byte, key identifiers must be there, name constraints
 * and unknown critical extensions are refused, and every authority counts against a path length.
 *
 * @param chain DER, leaf first, each certified by the next; the root may be left out or come last
 * @throws AppError `peer-refused`
 */
export function verifyPeer(
  chain: readonly Buffer[],
  bundle: TrustBundle,
  o: { /** Milliseconds since the epoch. */ readonly now: number },
): PeerIdentity {
  try {
    return verify(chain, bundle, o.now);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'invalid') throw error;
    throw new AppError('peer-refused', `The peer's certificate is refused. ${error.message}`, { cause: error });
  }
}

function verify(chain: readonly Buffer[], bundle: TrustBundle, now: number): PeerIdentity {
  const presented = parseChain(chain);
  const leaf = presented[0];
  if (leaf === undefined) throw refuse('There is none.');
  const id = checkLeaf(leaf);
  if (id.trustDomain !== bundle.trustDomain) {
    throw refuse(`It belongs to the trust domain ${id.trustDomain}, and ${bundle.trustDomain} is trusted here.`);
  }
  const path = completePath(presented, bundle);
  for (const certificate of path) checkValidity(certificate, now);
  for (const [index, authority] of path.slice(1).entries()) {
    checkAuthority(authority, id.trustDomain);
    checkPathLength(authority, index);
  }
  for (const [index, certificate] of path.entries()) {
    const issuer = path[index + 1];
    if (issuer !== undefined) checkIssued(certificate, issuer);
  }
  return Object.freeze({
    id,
    instanceId: leaf.subjectSerialNumber,
    serial: leaf.serial,
    notBefore: Math.max(...path.map((certificate) => certificate.notBefore)),
    notAfter: Math.min(...path.map((certificate) => certificate.notAfter)),
    certificate: leaf.der,
  });
}

function parseChain(chain: readonly Buffer[]): readonly Certificate[] {
  if (chain.length > MAX_CHAIN_LENGTH) throw refuse(`The chain has more than ${MAX_CHAIN_LENGTH} certificates.`);
  return chain.map(parseCertificate);
}

/** The presented chain up to a root of the bundle, which is taken from the bundle and never from the peer. */
function completePath(presented: readonly Certificate[], bundle: TrustBundle): readonly Certificate[] {
  const roots = parseRoots(bundle);
  const last = presented.at(-1);
  if (last === undefined) throw refuse('There is none.');
  if (presented.length > 1 && roots.some((root) => root.der.equals(last.der))) return presented;
  if (presented.length === MAX_CHAIN_LENGTH) throw refuse(`The chain has more than ${MAX_CHAIN_LENGTH} certificates.`);
  // Several roots can have the same name; their key identifiers tell them apart.
  const root = roots.find((candidate) => isIssuerByName(last, candidate));
  if (root === undefined) throw refuse(`It does not lead to a root of ${bundle.trustDomain}.`);
  return [...presented, root];
}

/** A memo of a pure function: bundles are frozen and replaced, never changed. */
const parsedRoots = new WeakMap<TrustBundle, readonly Certificate[]>();

function parseRoots(bundle: TrustBundle): readonly Certificate[] {
  let roots = parsedRoots.get(bundle);
  if (roots === undefined) {
    roots = bundle.roots.map(parseCertificate);
    parsedRoots.set(bundle, roots);
  }
  return roots;
}

function checkValidity(certificate: Certificate, now: number): void {
  if (now < certificate.notBefore) {
    throw refuse(`It, or an authority above it, is not valid before ${new Date(certificate.notBefore).toISOString()}.`);
  }
  // RFC 5280 §4.1.2.5: the last second belongs to the validity.
  if (now >= certificate.notAfter + 1000) {
    throw refuse(`It, or an authority above it, expired at ${new Date(certificate.notAfter).toISOString()}.`);
  }
}

/** RFC 5280 §4.2.1.9. `below`: how many authorities stand between this one and the leaf. */
function checkPathLength(authority: Certificate, below: number): void {
  const limit = authority.extensions.basicConstraints?.pathLength;
  if (limit !== undefined && below > limit)
    throw refuse('An authority has more authorities below it than it may have.');
}

function isIssuerByName(certificate: Certificate, issuer: Certificate): boolean {
  const { authorityKeyId } = certificate.extensions;
  const { subjectKeyId } = issuer.extensions;
  return (
    certificate.issuer.equals(issuer.subject) &&
    authorityKeyId !== undefined &&
    subjectKeyId !== undefined &&
    authorityKeyId.equals(subjectKeyId)
  );
}

function checkIssued(certificate: Certificate, issuer: Certificate): void {
  if (!isIssuerByName(certificate, issuer)) {
    throw refuse('A certificate does not name the next one as its issuer.');
  }
  const signer = { key: importPublicKey(issuer.publicKey), kind: issuer.publicKey.kind };
  if (!verifySignature(certificate.signatureAlgorithm, certificate.tbs, certificate.signature, signer)) {
    throw refuse('A signature in its chain is wrong.');
  }
}

function refuse(why: string): AppError {
  return new AppError('invalid', why);
}
