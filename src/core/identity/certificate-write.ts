import type { KeyObject } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import * as der from './der-write.ts';
import type { SignatureAlgorithm } from './signature.ts';
import { signDer } from './signature.ts';

/** What is in a certificate, each part encoded. */
export interface CertificateParts {
  readonly serial: Uint8Array;
  readonly issuer: Buffer;
  /** Milliseconds since the epoch, whole seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly subject: Buffer;
  readonly spki: Buffer;
  readonly extensions: readonly Buffer[];
}

const version3 = der.context(0, der.small(2));

/** Encodes and signs an X.509 v3 certificate (RFC 5280 §4.1), DER. */
export function signCertificate(parts: CertificateParts, algorithm: SignatureAlgorithm, key: KeyObject): Buffer {
  return signDer(toBeSigned(parts, algorithm), algorithm, key);
}

/** What of a certificate is signed (RFC 5280 §4.1.2), DER: for keys that are not in this process. */
export function toBeSigned(parts: CertificateParts, algorithm: SignatureAlgorithm): Buffer {
  return der.sequence(
    version3,
    der.unsigned(checkSerial(parts.serial)),
    algorithm.encoded,
    parts.issuer,
    der.sequence(der.time(parts.notBefore), der.time(parts.notAfter)),
    parts.subject,
    parts.spki,
    der.context(3, der.sequence(...parts.extensions)),
  );
}

/** The certificate, from what is signed and the signature over it. */
export function withSignature(tbs: Buffer, algorithm: SignatureAlgorithm, signature: Buffer): Buffer {
  return der.sequence(tbs, algorithm.encoded, der.bitString(signature));
}

/** Certificates hold whole seconds: an end is never later than what was asked for. */
export function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}

/** Lower-case hex of a serial number, without leading zero bytes: as `Certificate.serial` has it. */
export function serialHex(serial: Uint8Array): string {
  return Buffer.from(serial)
    .toString('hex')
    .replace(/^(00)+/, '');
}

/** RFC 5280 §4.1.2.2: positive and, as encoded, at most 20 octets. */
function checkSerial(serial: Uint8Array): Uint8Array {
  const octets = serial.length + ((serial[0] ?? 0) >= 0x80 ? 1 : 0);
  if (octets === 0 || octets > 20 || serial.every((byte) => byte === 0)) {
    throw new AppError('invalid', 'A serial number must be positive and have at most 20 octets.');
  }
  return serial;
}
