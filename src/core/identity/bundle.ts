import type { KeyObject } from 'node:crypto';
import { hash } from 'node:crypto';
import type { JSONWebKeySet, JWK } from 'jose';
import { AppError } from '../../base/errors.ts';
import { MAX_CERTIFICATE_BYTES, parseCertificate } from './certificate.ts';
import { importPublicKey } from './keys.ts';

/** What a trust domain is verified with. Bundles of different trust domains are never merged. */
export interface TrustBundle {
  readonly trustDomain: string;
  /** X.509 roots, DER. */
  readonly roots: readonly Buffer[];
  /** Public keys that verify JWT-SVIDs (`use` 'jwt-svid') and WIT-SVIDs ('wit-svid'). */
  readonly jwks: JSONWebKeySet;
  /** Grows with every change. */
  readonly sequence: number;
  /**
   * Authorities that may be in wrong hands: fingerprints of roots and key ids. They still verify; whoever holds an identity
   * from one asks for another at once. Absent for none.
   */
  readonly tainted?: readonly string[];
}

/** How often consumers of the SPIFFE bundle should ask again, in seconds (SPIFFE_Trust_Domain_and_Bundle.md §4.1.2). */
export const REFRESH_HINT_SECONDS = 300;

/** Most certificates that a PEM file may hold. */
const MAX_PEM_CERTIFICATES = 100;

/** The X.509 roots as concatenated PEM, as `openssl verify -CAfile` and `curl --cacert` take them. */
export function bundlePem(bundle: TrustBundle): string {
  return bundle.roots.map(certificatePem).join('');
}

/** One certificate as PEM (RFC 7468 §5.1). */
export function certificatePem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

/**
 * The certificates in a PEM file, as DER. Text between the blocks is skipped (RFC 7468 §2), other kinds of block are refused:
 * whoever puts a private key into a bundle should learn it.
 *
 * @throws AppError `invalid` when there is none, or one is malformed
 */
export function parsePemCertificates(pem: string): Buffer[] {
  const found: Buffer[] = [];
  for (const [, label, body, endLabel] of pem.matchAll(
    /-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END ([A-Z0-9 ]+)-----/g,
  )) {
    if (label !== 'CERTIFICATE' || endLabel !== label) {
      throw new AppError('invalid', `A PEM block is a ${label ?? 'nothing'}; only CERTIFICATE blocks belong here.`);
    }
    const text = (body ?? '').replace(/\s+/g, '');
    if (text.length > MAX_CERTIFICATE_BYTES * 2 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
      throw new AppError('invalid', 'A PEM block is not base64.');
    }
    const der = Buffer.from(text, 'base64');
    parseCertificate(der);
    found.push(der);
    if (found.length > MAX_PEM_CERTIFICATES) {
      throw new AppError('invalid', `The PEM text has more than ${MAX_PEM_CERTIFICATES} certificates.`);
    }
  }
  if (found.length === 0) throw new AppError('invalid', 'The PEM text has no certificate.');
  return found;
}

/** SHA-256 of a certificate, lower-case hex: the name by which people pin it. */
export function fingerprint(der: Uint8Array): string {
  return hash('sha256', der, 'hex');
}

/**
 * A SHA-256 fingerprint as people write it: hex in either case, with or without colons and a leading 'sha256:'.
 *
 * @throws AppError `invalid`
 */
export function parseFingerprint(text: string): string {
  const hex = text
    .trim()
    .toLowerCase()
    .replace(/^sha-?256[:=]/, '')
    .replaceAll(':', '');
  if (!/^[0-9a-f]{64}$/.test(hex)) {
    throw new AppError(
      'invalid',
      'A fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits, colons allowed.',
    );
  }
  return hex;
}

/** A document in SPIFFE bundle format. */
export interface SpiffeBundle {
  readonly spiffe_sequence: number;
  readonly spiffe_refresh_hint: number;
  readonly keys: readonly JWK[];
}

/** The bundle as the JWKS document of SPIFFE_Trust_Domain_and_Bundle.md §4, for federation and the bundle endpoint. */
export function spiffeBundle(bundle: TrustBundle): SpiffeBundle {
  return {
    spiffe_sequence: bundle.sequence,
    spiffe_refresh_hint: REFRESH_HINT_SECONDS,
    keys: [...bundle.roots.map(rootJwk), ...jwtKeys(bundle), ...witKeys(bundle)],
  };
}

/**
 * The JWT keys as a plain JWK Set, for validators that know JOSE and not SPIFFE: the same keys with `use` 'sig' (RFC 7517 §4.2),
 * since such libraries skip a key whose use they don't know.
 */
export function publicJwks(bundle: TrustBundle): JSONWebKeySet {
  return { keys: jwtKeys(bundle).map((key) => ({ ...key, use: 'sig' })) };
}

/** Only the keys that may verify JWT-SVIDs (JWT-SVID.md §6.2), each with a kid. */
export function jwtKeys(bundle: TrustBundle): readonly JWK[] {
  return keysFor(bundle, 'jwt-svid');
}

/** Only the keys that may verify WIT-SVIDs, each with a kid (WIT-SVID.md). */
export function witKeys(bundle: TrustBundle): readonly JWK[] {
  return keysFor(bundle, 'wit-svid');
}

/** A public key as it stands in `TrustBundle.jwks`. */
export function jwtKey(publicKey: KeyObject, kid: string, use: 'jwt-svid' | 'wit-svid' = 'jwt-svid'): JWK {
  const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });
  return Object.freeze({ kty, crv, x, y, kid, use, alg: 'ES256' }) as JWK;
}

/** RFC 7638 thumbprint of a P-256 key: its name wherever it is. */
export function thumbprint(publicKey: KeyObject): string {
  const { crv, kty, x, y } = publicKey.export({ format: 'jwk' });
  // Members in this order, without blanks (§3.3).
  return hash('sha256', JSON.stringify({ crv, kty, x, y }), 'base64url');
}

function keysFor(bundle: TrustBundle, use: string): readonly JWK[] {
  return bundle.jwks.keys.filter((key) => key.use === use && typeof key.kid === 'string' && key.kid !== '');
}

/** X509-SVID.md §6.1: one key per authority, without kid, with exactly one certificate. */
function rootJwk(der: Buffer): JWK {
  const key = importPublicKey(parseCertificate(der).publicKey).export({ format: 'jwk' }) as JWK;
  return { ...key, use: 'x509-svid', x5c: [der.toString('base64')] };
}
