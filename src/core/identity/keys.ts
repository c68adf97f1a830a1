import type { KeyObject } from 'node:crypto';
import { createPublicKey, generateKeyPairSync, hash } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import type { DerReader } from './der-read.ts';
import { DerElement, derError, openDer, Tag } from './der-read.ts';
import { oids } from './oids.ts';

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** A new ECDSA P-256 key pair, from the operating system's randomness. */
export function generateKeyPair(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/** The kinds of key that Writ certifies and verifies with. */
export type KeyKind = 'p256' | 'p384' | 'rsa';

/** A public key whose encoding was checked. */
export interface CheckedPublicKey {
  readonly kind: KeyKind;
  /** SubjectPublicKeyInfo, DER, as it was presented. */
  readonly spki: Buffer;
  /** The key itself, without the algorithm: the content of subjectPublicKey. */
  readonly bits: Buffer;
}

/** Longest SubjectPublicKeyInfo: RSA-4096 needs 550 bytes. */
const MAX_SPKI_BYTES = 1024;
const MIN_RSA_BITS = 2048;
/** A longer modulus costs every verifier, not the attacker who made it. */
const MAX_RSA_BITS = 4096;

const curves: Readonly<Record<string, { readonly kind: KeyKind; readonly pointBytes: number } | undefined>> = {
  [oids.p256]: { kind: 'p256', pointBytes: 65 },
  [oids.p384]: { kind: 'p384', pointBytes: 97 },
};

/**
 * Checks kind, strength and encoding of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7): named curves P-256 and P-384 with an
 * uncompressed point, or RSA of 2048 to 4096 bits. Curves given by parameters are never looked at (CVE-2020-0601).
 *
 * @throws AppError `invalid`
 */
export function checkSpki(spki: Uint8Array | DerElement): CheckedPublicKey {
  const element = spki instanceof DerElement ? spki : openDer(spki, { maxBytes: MAX_SPKI_BYTES }).next(Tag.sequence);
  if (element.length > MAX_SPKI_BYTES) throw derError(`it is longer than ${MAX_SPKI_BYTES} bytes`);
  const fields = element.children();
  const algorithm = fields.next(Tag.sequence).children();
  const bits = fields.next(Tag.bitString).octetsOfBitString();
  fields.end();
  const kind = kindOf(algorithm, bits);
  return Object.freeze({ kind, spki: element.raw, bits });
}

/** RFC 5280 §4.2.1.2 key identifier, by RFC 7093 §2 method 1: the first 160 bits of SHA-256 over the key's bits. */
export function keyIdentifier(key: CheckedPublicKey): Buffer {
  return hash('sha256', key.bits, 'buffer').subarray(0, 20);
}

/**
 * The key of a checked SubjectPublicKeyInfo, for verification. OpenSSL checks that an elliptic-curve point is on its curve.
 *
 * @throws AppError `invalid`
 */
export function importPublicKey(checked: CheckedPublicKey): KeyObject {
  try {
    return createPublicKey(publicKeyPem(checked));
  } catch (cause) {
    throw new AppError('invalid', 'The public key is not valid.', { cause });
  }
}

/**
 * A checked SubjectPublicKeyInfo as PEM, which looks like a detour and takes half the time: for an object argument Node 24 first
 * throws and catches two exceptions to learn that it is not a KeyObject, and a stack trace costs more than base64.
 */
export function publicKeyPem({ spki }: CheckedPublicKey): string {
  return `-----BEGIN PUBLIC KEY-----\n${spki.toString('base64')}\n-----END PUBLIC KEY-----\n`;
}

/** SubjectPublicKeyInfo of a key, checked. Costs about 40 µs: where the bytes are at hand, use `checkSpki`. */
export function checkPublicKey(key: KeyObject): CheckedPublicKey {
  return checkSpki(key.export({ type: 'spki', format: 'der' }));
}

function kindOf(algorithm: DerReader, bits: Buffer): KeyKind {
  const oid = algorithm.next(Tag.oid).oid();
  if (oid === oids.ecPublicKey) {
    const curve = curves[algorithm.next(Tag.oid).oid()];
    algorithm.end();
    if (curve === undefined) throw weak('an elliptic curve other than P-256 and P-384');
    if (bits.length !== curve.pointBytes || bits[0] !== 0x04) throw derError('it has a point that is not uncompressed');
    return curve.kind;
  }
  if (oid === oids.rsaEncryption) {
    const none = algorithm.next(Tag.null);
    algorithm.end();
    if (none.content.length > 0) throw derError('it does not have the expected structure');
    checkRsa(openDer(bits, { maxBytes: MAX_SPKI_BYTES }).next(Tag.sequence));
    return 'rsa';
  }
  throw weak('an algorithm other than ECDSA and RSA');
}

function checkRsa(key: DerElement): void {
  const fields = key.children();
  const modulus = fields.next(Tag.integer).unsigned();
  const exponent = fields.next(Tag.integer).unsigned();
  fields.end();
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) {
    throw weak(`RSA with ${bits} bits; Writ takes ${MIN_RSA_BITS} to ${MAX_RSA_BITS}`);
  }
  // A small exponent is fragile; a huge one makes verification as dear as signing.
  const e = exponent.length > 4 ? 0 : exponent.readUIntBE(0, exponent.length);
  if (e < 65537 || e % 2 === 0) throw weak('RSA with a public exponent other than an odd number from 65537 to 2^32');
}

function weak(what: string): AppError {
  return new AppError('invalid', `The public key is not acceptable: it uses ${what}.`);
}
