import type { KeyObject } from 'node:crypto';
import { sign } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import type { Certificate } from './certificate.ts';
import { parseCertificate } from './certificate.ts';
import type { CertificateParts } from './certificate-write.ts';
import { serialHex, signCertificate, toBeSigned, wholeSeconds, withSignature } from './certificate-write.ts';
import * as extension from './extensions.ts';
import type { CheckedPublicKey, KeyKind, KeyPair } from './keys.ts';
import { checkPublicKey, importPublicKey, keyIdentifier } from './keys.ts';
import { authorityName } from './name.ts';
import { checkAuthority } from './profile.ts';
import type { SignatureAlgorithm } from './signature.ts';
import { signatureAlgorithmFor, verifySignature } from './signature.ts';
import { parseSpiffeId, trustDomainId } from './spiffe-id.ts';

/** A certificate authority that can sign: its certificate and the key to it. */
export interface Issuer {
  /** DER. */
  readonly certificate: Buffer;
  /** What to send below a leaf, issuer first, without the root: empty when the issuer is the root itself. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
}

/** What can be said of an issuer once and for all. */
export interface PreparedIssuer {
  readonly certificate: Certificate;
  readonly trustDomain: string;
  readonly publicKey: KeyObject;
  readonly algorithm: SignatureAlgorithm;
  /** The extension that every certificate below it carries. */
  readonly authorityKeyIdentifier: Buffer;
  /** The earliest end in its chain: nothing that it signs may outlive that. Milliseconds since the epoch. */
  readonly notAfter: number;
}

/** One intermediate below the root, and leaves below that. */
const ROOT_PATH_LENGTH = 1;
const INTERMEDIATE_PATH_LENGTH = 0;

/** What a new authority is asked to be. Times in milliseconds since the epoch, rounded down to seconds. */
export interface AuthorityOrder {
  readonly trustDomain: string;
  readonly publicKey: KeyObject;
  /** Random, positive, at most 20 octets. */
  readonly serial: Uint8Array;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A certificate of an authority as it is to be signed, and with which key to check the signature. */
export interface UnsignedAuthority {
  readonly parts: CertificateParts;
  readonly algorithm: SignatureAlgorithm;
  readonly signer: KeyObject;
  readonly trustDomain: string;
}

/** Who signs an intermediate. It may be above SPIFFE: an authority of the house, without a SPIFFE ID. */
export interface AuthorityAbove {
  readonly certificate: Certificate;
  readonly publicKey: KeyObject;
  /** The earliest end in its chain. */
  readonly notAfter: number;
}

/**
 * The self-signed root of a trust domain: an SVID of its own, with the path-less SPIFFE ID (X509-SVID.md §3.2).
 *
 * @throws AppError `invalid`
 */
export function createRoot(o: Omit<AuthorityOrder, 'publicKey'> & { readonly key: KeyPair }): Buffer {
  return sealAuthority(unsignedRoot({ ...o, publicKey: o.key.publicKey }), o.key.privateKey);
}

/** As `createRoot`, for a key that is elsewhere. */
export function unsignedRoot(o: AuthorityOrder): UnsignedAuthority {
  const checked = checkPublicKey(o.publicKey);
  const name = authorityName('Writ root', serialHex(o.serial));
  return {
    parts: {
      serial: o.serial,
      notBefore: wholeSeconds(o.notBefore),
      notAfter: wholeSeconds(o.notAfter),
      issuer: name,
      subject: name,
      spki: checked.spki,
      extensions: authorityExtensions(o.trustDomain, checked, keyIdentifier(checked), ROOT_PATH_LENGTH),
    },
    algorithm: signatureAlgorithmFor(checked.kind),
    signer: o.publicKey,
    trustDomain: o.trustDomain,
  };
}

/**
 * An authority below the root, for one replica of the control plane. Ends when the root ends, at the latest.
 *
 * @throws AppError `invalid`; `unavailable` when the root has ended
 */
export function createIntermediate(o: AuthorityOrder & { readonly root: Issuer }): Buffer {
  return sealAuthority(unsignedIntermediate({ ...o, above: prepareIssuer(o.root) }), o.root.privateKey);
}

/** As `createIntermediate`, for an authority whose key is elsewhere, or that is not of SPIFFE. */
export function unsignedIntermediate(o: AuthorityOrder & { readonly above: AuthorityAbove }): UnsignedAuthority {
  const checked = checkPublicKey(o.publicKey);
  const { above } = o;
  return {
    parts: {
      serial: o.serial,
      ...validityBelow(above, o.notBefore, o.notAfter),
      issuer: above.certificate.subject,
      subject: authorityName('Writ intermediate', serialHex(o.serial)),
      spki: checked.spki,
      extensions: authorityExtensions(o.trustDomain, checked, keyIdOf(above.certificate), INTERMEDIATE_PATH_LENGTH),
    },
    algorithm: signatureAlgorithmFor(above.certificate.publicKey.kind),
    signer: above.publicKey,
    trustDomain: o.trustDomain,
  };
}

/** Signs with a key of this process, and looks at the result as a verifier would. */
export function sealAuthority(unsigned: UnsignedAuthority, privateKey: KeyObject): Buffer {
  const signed = signCertificate(unsigned.parts, unsigned.algorithm, privateKey);
  return checkOwnAuthority(signed, unsigned.trustDomain, unsigned.signer);
}

/**
 * Has it signed elsewhere, and looks at the result as a verifier would: what a key service answers is not believed.
 * `sign` is given the bytes and returns the signature as X.509 writes it.
 */
export async function sealAuthorityElsewhere(
  unsigned: UnsignedAuthority,
  sign: (data: Buffer) => Promise<Buffer>,
): Promise<Buffer> {
  const tbs = toBeSigned(unsigned.parts, unsigned.algorithm);
  const signed = withSignature(tbs, unsigned.algorithm, await sign(tbs));
  return checkOwnAuthority(signed, unsigned.trustDomain, unsigned.signer);
}

/**
 * Takes an issuer apart and makes sure that its key belongs to its certificate. Remembered for as long as the issuer lives.
 *
 * @throws AppError `internal` for an issuer that cannot sign SVIDs: these are never from outside
 */
export function prepareIssuer(issuer: Issuer): PreparedIssuer {
  let prepared = preparedIssuers.get(issuer);
  if (prepared === undefined) {
    prepared = prepare(issuer);
    preparedIssuers.set(issuer, prepared);
  }
  return prepared;
}

/** A memo of a pure function, not state: an issuer's certificate and key never change. */
const preparedIssuers = new WeakMap<Issuer, PreparedIssuer>();

function prepare(issuer: Issuer): PreparedIssuer {
  const certificate = parseCertificate(issuer.certificate);
  const uri = certificate.extensions.subjectAltName?.uris[0];
  if (uri === undefined) throw new AppError('internal', 'The issuer has no SPIFFE ID.');
  const { trustDomain } = parseSpiffeId(uri);
  checkAuthority(certificate, trustDomain);
  const publicKey = importPublicKey(certificate.publicKey);
  const algorithm = signatureAlgorithmFor(certificate.publicKey.kind);
  proveKey(issuer.privateKey, algorithm, { key: publicKey, kind: certificate.publicKey.kind });
  return Object.freeze({
    certificate,
    trustDomain,
    publicKey,
    algorithm,
    authorityKeyIdentifier: extension.authorityKeyIdentifier(keyIdOf(certificate)),
    notAfter: Math.min(certificate.notAfter, ...issuer.chain.map((below) => parseCertificate(below).notAfter)),
  });
}

/** Signs something and verifies it: a key that does not belong to the certificate shows here, once, and not at the peers. */
function proveKey(
  privateKey: KeyObject,
  algorithm: SignatureAlgorithm,
  signer: { key: KeyObject; kind: KeyKind },
): void {
  const probe = Buffer.from('Writ issuer key probe');
  if (!verifySignature(algorithm, probe, sign(algorithm.hash, probe, privateKey), signer)) {
    throw new AppError('internal', "The issuer's key does not belong to its certificate.");
  }
}

/**
 * The validity of a certificate below an issuer: whole seconds, capped to the end of the issuer's chain.
 *
 * @throws AppError `invalid` for an end that is not after the beginning; `unavailable` when the issuer has ended
 */
export function validityBelow(
  issuer: { readonly notAfter: number },
  notBefore: number,
  notAfter: number,
): { readonly notBefore: number; readonly notAfter: number } {
  const begin = wholeSeconds(notBefore);
  if (!(notAfter > begin)) throw new AppError('invalid', 'A certificate must end after it begins.');
  const end = wholeSeconds(Math.min(notAfter, issuer.notAfter));
  if (end <= begin) throw new AppError('unavailable', 'The certificate authority has expired.');
  return { notBefore: begin, notAfter: end };
}

export function keyIdOf(certificate: Certificate): Buffer {
  const { subjectKeyId } = certificate.extensions;
  if (subjectKeyId === undefined) throw new AppError('internal', 'The issuer has no key identifier.');
  return subjectKeyId;
}

function authorityExtensions(
  trustDomain: string,
  key: CheckedPublicKey,
  issuerKeyId: Buffer,
  pathLength: number,
): readonly Buffer[] {
  return [
    extension.basicConstraints({ ca: true, pathLength }),
    extension.keyUsage(extension.KeyUsage.keyCertSign, extension.KeyUsage.cRLSign),
    extension.subjectKeyIdentifier(keyIdentifier(key)),
    extension.authorityKeyIdentifier(issuerKeyId),
    extension.subjectAltName(trustDomainId(trustDomain).uri),
  ];
}

/** Looks at what was just signed as a verifier would, before anybody else does. */
function checkOwnAuthority(der: Buffer, trustDomain: string, signer: KeyObject): Buffer {
  const certificate = parseCertificate(der);
  checkAuthority(certificate, trustDomain);
  const { kind } = checkPublicKey(signer);
  if (!verifySignature(certificate.signatureAlgorithm, certificate.tbs, certificate.signature, { key: signer, kind })) {
    throw new AppError('internal', 'The certificate authority signed a certificate that does not verify.');
  }
  return der;
}
