import type { KeyObject } from 'node:crypto';
import { X509Certificate } from 'node:crypto';
import { AppError } from '../../../base/errors.ts';
import { MAX_CERTIFICATE_BYTES } from '../../../core/identity/certificate.ts';
import type { DerElement } from '../../../core/identity/der-read.ts';
import { derError, openDer, Tag } from '../../../core/identity/der-read.ts';
import type { Extensions } from '../../../core/identity/extensions.ts';
import { KeyUsage, readExtensions } from '../../../core/identity/extensions.ts';
import { oids } from '../../../core/identity/oids.ts';
import { readSignatureAlgorithm } from '../../../core/identity/signature.ts';

/**
 * Certificates that others gave to machines (X.509, RFC 5280): no SPIFFE IDs, more kinds of key. The bytes are taken apart by the
 * same strict reader as ours; keys and signatures are OpenSSL's.
 */
export interface DeviceCertificate {
  readonly der: Buffer;
  /** SHA-256, lower hex. */
  readonly fingerprint: string;
  /** Lower hex. */
  readonly serial: string;
  /** The one common name of the subject; undefined for none, several, or one that is not plain text. */
  readonly commonName: string | undefined;
  readonly publicKey: KeyObject;
  readonly extensions: Extensions;
  readonly issuer: Buffer;
  readonly subject: Buffer;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly x509: X509Certificate;
}

/** Longest path that is presented, without the root. */
export const MAX_PRESENTED = 6;
const MAX_TEXT = 256;
/** id-Ed25519 without parameters (RFC 8410 §3). */
const ed25519 = Buffer.from('300506032b6570', 'hex');
const curves: readonly (string | undefined)[] = ['prime256v1', 'secp384r1', 'secp521r1'];

/**
 * Splits concatenated DER and takes each certificate apart.
 *
 * @param bytes attacker-controlled
 * @throws AppError `invalid`
 */
export function parseDeviceChain(bytes: Buffer): readonly DeviceCertificate[] {
  const chain: DeviceCertificate[] = [];
  for (let rest = bytes; rest.length > 0; ) {
    if (chain.length === MAX_PRESENTED) throw derError(`it has more than ${MAX_PRESENTED} certificates`);
    const length = elementLength(rest);
    chain.push(parseDeviceCertificate(rest.subarray(0, length)));
    rest = rest.subarray(length);
  }
  return chain;
}

/** @throws AppError `invalid` */
export function parseDeviceCertificate(bytes: Buffer): DeviceCertificate {
  const outer = openDer(bytes, { maxBytes: MAX_CERTIFICATE_BYTES }).next(Tag.sequence);
  const parts = outer.children();
  const tbs = parts.next(Tag.sequence);
  const algorithm = parts.next(Tag.sequence);
  parts.next(Tag.bitString);
  parts.end();
  checkAlgorithm(algorithm);

  const fields = tbs.children();
  const version = fields.next(0xa0).children();
  if (version.next(Tag.integer).small() !== 2) throw derError('it is not a version 3 certificate');
  version.end();
  const serial = fields.next(Tag.integer).unsigned().toString('hex');
  // RFC 5280 §4.1.1.2: the outer one is not signed.
  if (!fields.next(Tag.sequence).raw.equals(algorithm.raw)) throw derError('it names two signature algorithms');
  const issuer = fields.next(Tag.sequence).raw;
  const validity = fields.next(Tag.sequence).children();
  const notBefore = validity.any().time();
  const notAfter = validity.any().time();
  validity.end();
  const subject = fields.next(Tag.sequence);
  fields.next(Tag.sequence);
  const extensions = readExtensions(fields.next(0xa3));
  fields.end();

  const { x509, publicKey } = openX509(bytes);
  return Object.freeze({
    der: outer.raw,
    fingerprint: x509.fingerprint256.replaceAll(':', '').toLowerCase(),
    serial,
    commonName: commonNameOf(subject),
    publicKey: checkKey(publicKey),
    extensions,
    issuer,
    subject: subject.raw,
    notBefore,
    notAfter,
    x509,
  });
}

/**
 * Verifies the path from a machine's certificate to one of the roots (RFC 5280 §6): signatures, names, validity, authorities and
 * how many may follow, usages, and nothing critical that is not understood. Name constraints are not evaluated, so whoever has
 * them is refused. Revocation lists are not read: ban the node instead.
 *
 * @param presented leaf first, each certified by the next
 * @returns the authorities of the path, root last
 * @throws AppError `forbidden`
 */
export function verifyDeviceChain(
  presented: readonly DeviceCertificate[],
  roots: readonly DeviceCertificate[],
  now: number,
): readonly DeviceCertificate[] {
  const leaf = presented[0];
  if (leaf === undefined) throw refuse('there is none');
  checkLeaf(leaf);
  const path = completePath(presented, roots);
  for (const certificate of path) {
    if (certificate.extensions.unknownCritical) throw refuse('it has a critical extension that is not understood here');
    if (now < certificate.notBefore) throw refuse('it, or an authority above it, is not valid yet');
    // RFC 5280 §4.1.2.5: the last second belongs to the validity.
    if (now >= certificate.notAfter + 1000) throw refuse('it, or an authority above it, has expired');
  }
  const authorities = path.slice(1);
  for (const [index, authority] of authorities.entries()) checkAuthority(authority, index);
  for (const [index, certificate] of path.entries()) {
    const issuer = path[index + 1];
    if (issuer !== undefined && !isIssued(certificate, issuer)) throw refuse('a signature in its chain is wrong');
  }
  return authorities;
}

function completePath(
  presented: readonly DeviceCertificate[],
  roots: readonly DeviceCertificate[],
): readonly DeviceCertificate[] {
  const last = presented.at(-1);
  if (last === undefined) throw refuse('there is none');
  if (presented.length > 1 && roots.some((root) => root.der.equals(last.der))) return presented;
  // Roots with one name exist, when a vendor replaces its key: the signature says which it is.
  const root = roots.find((candidate) => isIssued(last, candidate));
  if (root === undefined) throw refuse('it does not lead to an authority that is trusted here');
  return [...presented, root];
}

function checkLeaf({ extensions }: DeviceCertificate): void {
  if (extensions.basicConstraints?.ca === true) throw refuse('it is an authority, not a machine');
  if (extensions.keyUsage !== undefined && !has(extensions.keyUsage.bits, KeyUsage.digitalSignature)) {
    throw refuse('its key may not sign');
  }
}

/** @param below authorities between this one and the leaf */
function checkAuthority({ extensions }: DeviceCertificate, below: number): void {
  if (extensions.basicConstraints?.ca !== true) throw refuse('an issuer in its chain is not an authority');
  if (extensions.keyUsage !== undefined && !has(extensions.keyUsage.bits, KeyUsage.keyCertSign)) {
    throw refuse('an authority in its chain may not sign certificates');
  }
  const limit = extensions.basicConstraints.pathLength;
  if (limit !== undefined && below > limit) throw refuse('an authority in its chain has too many below it');
}

function isIssued(certificate: DeviceCertificate, issuer: DeviceCertificate): boolean {
  const { authorityKeyId } = certificate.extensions;
  const { subjectKeyId } = issuer.extensions;
  if (!certificate.issuer.equals(issuer.subject)) return false;
  if (authorityKeyId !== undefined && subjectKeyId !== undefined && !authorityKeyId.equals(subjectKeyId)) return false;
  try {
    return certificate.x509.verify(issuer.publicKey);
  } catch {
    return false;
  }
}

function checkAlgorithm(identifier: DerElement): void {
  if (!identifier.raw.equals(ed25519)) readSignatureAlgorithm(identifier);
}

/** OpenSSL reads the key only when it is asked for it. */
function openX509(bytes: Buffer): { readonly x509: X509Certificate; readonly publicKey: KeyObject } {
  try {
    const x509 = new X509Certificate(bytes);
    return { x509, publicKey: x509.publicKey };
  } catch (cause) {
    throw new AppError('invalid', 'The certificate cannot be read.', { cause });
  }
}

/** Strong enough, and of a kind that can answer a challenge. Throws `invalid`. */
function checkKey(key: KeyObject): KeyObject {
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'rsa':
    case 'rsa-pss':
      if (modulusLength >= 2048 && modulusLength <= 8192) return key;
      break;
    case 'ec':
      if (curves.includes(namedCurve)) return key;
      break;
    case 'ed25519':
      return key;
    default:
  }
  throw new AppError(
    'invalid',
    'A key in the chain is not RSA of 2048 bits or more, ECDSA P-256 to P-521, or Ed25519.',
  );
}

function commonNameOf(name: DerElement): string | undefined {
  const found: string[] = [];
  const sets = name.children();
  while (!sets.done) {
    const attributes = sets.next(Tag.set).children();
    while (!attributes.done) {
      const fields = attributes.next(Tag.sequence).children();
      const type = fields.next(Tag.oid).oid();
      const value = fields.any();
      fields.end();
      if (type === oids.commonName) found.push(plainText(value));
    }
  }
  const [only] = found;
  return found.length === 1 && only !== '' ? only : undefined;
}

function plainText({ tag, content }: DerElement): string {
  if ((tag !== Tag.utf8String && tag !== Tag.printableString) || content.length > MAX_TEXT) return '';
  const text = content.toString('utf8');
  return /\p{C}|\ufffd/u.test(text) ? '' : text;
}

/** Of the DER element that the bytes begin with. Only the form that a certificate's own length takes. */
function elementLength(bytes: Buffer): number {
  const first = bytes[1];
  if (bytes[0] !== Tag.sequence || first === undefined) throw derError('it is not a sequence of certificates');
  if (first < 0x80) return checkLength(2 + first, bytes);
  const octets = first & 0x7f;
  if (octets === 0 || octets > 2 || bytes.length < 2 + octets) throw derError('it is not a sequence of certificates');
  return checkLength(2 + octets + bytes.readUIntBE(2, octets), bytes);
}

function checkLength(length: number, bytes: Buffer): number {
  if (length > bytes.length) throw derError('a certificate is cut off');
  return length;
}

function has(bits: number, bit: number): boolean {
  return (bits & (1 << bit)) !== 0;
}

function refuse(why: string): AppError {
  return new AppError('forbidden', `The certificate of this machine is refused: ${why}.`);
}
