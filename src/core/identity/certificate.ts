import type { DerElement, DerReader } from './der-read.ts';
import { derError, openDer, Tag } from './der-read.ts';
import type { Extensions } from './extensions.ts';
import { readExtensions } from './extensions.ts';
import type { CheckedPublicKey } from './keys.ts';
import { checkSpki } from './keys.ts';
import { serialNumberOf } from './name.ts';
import type { SignatureAlgorithm } from './signature.ts';
import { readSignatureAlgorithm } from './signature.ts';

/** Longest certificate that is looked at. Ours have about 700 bytes. */
export const MAX_CERTIFICATE_BYTES = 16 * 1024;

/** An X.509 v3 certificate, taken apart but not yet trusted. Buffers are views of `der`. */
export interface Certificate {
  readonly der: Buffer;
  /** What the signature is computed over. */
  readonly tbs: Buffer;
  readonly signatureAlgorithm: SignatureAlgorithm;
  readonly signature: Buffer;
  /** Lower-case hex, without the zero byte that only carries the sign. */
  readonly serial: string;
  /** Names as they are encoded. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  /** X.520 serialNumber of the subject, or ''. */
  readonly subjectSerialNumber: string;
  /** Milliseconds since the epoch; both ends belong to the validity. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly publicKey: CheckedPublicKey;
  readonly extensions: Extensions;
}

/**
 * Takes a certificate (RFC 5280 §4.1) apart. Strict DER; only version 3; only the keys and signature algorithms that Writ takes.
 *
 * @throws AppError `invalid`
 */
export function parseCertificate(bytes: Uint8Array): Certificate {
  const outer = openDer(bytes, { maxBytes: MAX_CERTIFICATE_BYTES }).next(Tag.sequence);
  const parts = outer.children();
  const tbs = parts.next(Tag.sequence);
  const outerAlgorithm = readSignatureAlgorithm(parts.next(Tag.sequence));
  const signature = parts.next(Tag.bitString).octetsOfBitString();
  parts.end();

  const fields = tbs.children();
  readVersion(fields.next(0xa0));
  const serial = readSerial(fields.next(Tag.integer));
  // RFC 5280 §4.1.1.2: the algorithm stands twice and must be the same; the outer one is not signed.
  if (readSignatureAlgorithm(fields.next(Tag.sequence)) !== outerAlgorithm) {
    throw derError('it names two signature algorithms');
  }
  const issuer = fields.next(Tag.sequence);
  const { notBefore, notAfter } = readValidity(fields.next(Tag.sequence).children());
  const subject = fields.next(Tag.sequence);
  const publicKey = checkSpki(fields.next(Tag.sequence));
  // The unique identifiers [1] and [2], which RFC 5280 §4.1.2.8 forbids, do not pass here.
  const extensions = readExtensions(fields.next(0xa3));
  fields.end();

  return Object.freeze({
    der: outer.raw,
    tbs: tbs.raw,
    signatureAlgorithm: outerAlgorithm,
    signature,
    serial,
    issuer: issuer.raw,
    subject: subject.raw,
    subjectSerialNumber: serialNumberOf(subject),
    notBefore,
    notAfter,
    publicKey,
    extensions,
  });
}

function readVersion(wrapper: DerElement): void {
  const inner = wrapper.children();
  const version = inner.next(Tag.integer).small();
  inner.end();
  if (version !== 2) throw derError('it is not a version 3 certificate');
}

function readSerial(element: DerElement): string {
  const bytes = element.unsigned();
  // RFC 5280 §4.1.2.2: positive, at most 20 octets as encoded.
  if (element.content.length > 20 || (bytes.length === 1 && bytes[0] === 0))
    throw derError('it has a bad serial number');
  return bytes.toString('hex');
}

function readValidity(fields: DerReader): { notBefore: number; notAfter: number } {
  const notBefore = fields.any().time();
  const notAfter = fields.any().time();
  fields.end();
  return { notBefore, notAfter };
}
