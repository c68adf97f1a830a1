import { AppError } from '../../base/errors.ts';
import type { Certificate } from './certificate.ts';
import { KeyUsage } from './extensions.ts';
import { oids } from './oids.ts';
import type { SpiffeId } from './spiffe-id.ts';
import { parseSpiffeId } from './spiffe-id.ts';

/**
 * What X509-SVID.md demands of a certificate by itself. Used on both sides: on what peers present and on what Writ has just signed.
 */

/** An empty X.501 name. */
const emptyName = Buffer.of(0x30, 0x00);

/**
 * Checks the leaf profile (X509-SVID.md §2–§5.2) and returns the identity.
 *
 * @throws AppError `invalid`
 */
export function checkLeaf(certificate: Certificate): SpiffeId {
  const { basicConstraints, keyUsage, extendedKeyUsage, subjectAltName, unknownCritical } = certificate.extensions;
  if (unknownCritical) throw refuse('it has a critical extension that Writ does not know');
  if (basicConstraints?.ca) throw refuse('it is an authority, and authorities do not authenticate');
  if (keyUsage === undefined || !keyUsage.critical) throw refuse('its key usage is missing or not critical');
  if (!has(keyUsage.bits, KeyUsage.digitalSignature)) throw refuse('its key usage lacks digitalSignature');
  if (has(keyUsage.bits, KeyUsage.keyCertSign) || has(keyUsage.bits, KeyUsage.cRLSign)) {
    throw refuse('its key usage allows signing certificates or revocation lists');
  }
  if (extendedKeyUsage !== undefined) checkBothUsages(extendedKeyUsage);
  const [uri, ...moreUris] = subjectAltName?.uris ?? [];
  if (uri === undefined) throw refuse('it has no URI name');
  if (moreUris.length > 0) throw refuse('it has more than one URI name');
  // RFC 5280 §4.1.2.6.
  if (certificate.subject.equals(emptyName) && !subjectAltName?.critical) {
    throw refuse('its subject is empty and its alternative name not critical');
  }
  const id = parseSpiffeId(uri);
  if (id.path === '') throw refuse('its SPIFFE ID has no path, so it is not the identity of a workload');
  return id;
}

/**
 * Checks that a certificate is an authority that may certify SVIDs of this trust domain (X509-SVID.md §3.2, §4.1, §4.3).
 * An authority above SPIFFE need not carry a SPIFFE ID; one that it carries must be that of the trust domain.
 *
 * @throws AppError `invalid`
 */
export function checkAuthority(certificate: Certificate, trustDomain: string): void {
  const { basicConstraints, keyUsage, extendedKeyUsage, subjectAltName, unknownCritical } = certificate.extensions;
  if (unknownCritical) throw refuse('an authority has a critical extension that Writ does not know');
  if (!basicConstraints?.ca) throw refuse('an issuer is not an authority');
  if (keyUsage === undefined || !keyUsage.critical) throw refuse("an authority's key usage is missing or not critical");
  if (!has(keyUsage.bits, KeyUsage.keyCertSign)) throw refuse("an authority's key usage lacks keyCertSign");
  if (extendedKeyUsage !== undefined && !extendedKeyUsage.includes(oids.anyExtendedKeyUsage)) {
    checkBothUsages(extendedKeyUsage);
  }
  if (certificate.extensions.subjectKeyId === undefined) throw refuse('an authority has no key identifier');
  if (certificate.subject.equals(emptyName)) throw refuse('an authority has no name');
  const [uri, ...moreUris] = subjectAltName?.uris ?? [];
  if (uri === undefined) return;
  if (moreUris.length > 0) throw refuse('an authority has more than one URI name');
  const id = parseSpiffeId(uri);
  if (id.path !== '' || id.trustDomain !== trustDomain) {
    throw refuse("an authority's SPIFFE ID is not that of the leaf's trust domain");
  }
}

/** X509-SVID.md §4.4: with one of the two missing, the certificate fits only one side of a connection. */
function checkBothUsages(usages: readonly string[]): void {
  if (!usages.includes(oids.serverAuth) || !usages.includes(oids.clientAuth)) {
    throw refuse('its extended key usage does not have both serverAuth and clientAuth');
  }
}

function has(bits: number, bit: number): boolean {
  return (bits & (1 << bit)) !== 0;
}

function refuse(why: string): AppError {
  return new AppError('invalid', `The certificate is not an X509-SVID: ${why}.`);
}
