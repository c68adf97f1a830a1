import type { KeyObject } from 'node:crypto';
import { sign as cryptoSign, verify as cryptoVerify } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import type { DerElement } from './der-read.ts';
import { derError, Tag } from './der-read.ts';
import * as der from './der-write.ts';
import type { KeyKind } from './keys.ts';
import type { OidName } from './oids.ts';
import { oids } from './oids.ts';

/** A signature algorithm on a certificate or signing request. */
export interface SignatureAlgorithm {
  readonly name: OidName;
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  readonly family: 'ecdsa' | 'rsa';
  /** The one right encoding of the AlgorithmIdentifier: without parameters for ECDSA (RFC 5758 §3.2), with NULL for RSA (RFC 4055 §5). */
  readonly encoded: Buffer;
}

/** All that Writ takes. SHA-1, MD5, RSA-PSS and Ed25519 are not in it, and so they are refused. */
const algorithms: readonly SignatureAlgorithm[] = [
  row('ecdsaWithSha256', 'sha256', 'ecdsa'),
  row('ecdsaWithSha384', 'sha384', 'ecdsa'),
  row('ecdsaWithSha512', 'sha512', 'ecdsa'),
  row('sha256WithRsa', 'sha256', 'rsa'),
  row('sha384WithRsa', 'sha384', 'rsa'),
  row('sha512WithRsa', 'sha512', 'rsa'),
];

const byOid: ReadonlyMap<string, SignatureAlgorithm> = new Map(algorithms.map((a) => [oids[a.name], a]));

/** What a key of each kind signs with. */
const preferred: Readonly<Record<KeyKind, OidName>> = {
  p256: 'ecdsaWithSha256',
  p384: 'ecdsaWithSha384',
  rsa: 'sha256WithRsa',
};

/** @throws AppError `invalid` for an algorithm that is not in the table, or not encoded as the table has it */
export function readSignatureAlgorithm(identifier: DerElement): SignatureAlgorithm {
  const fields = identifier.children();
  const algorithm = byOid.get(fields.next(Tag.oid).oid());
  if (algorithm === undefined) {
    throw new AppError(
      'invalid',
      'The signature algorithm is not one of ECDSA or RSA PKCS #1 with SHA-256, SHA-384 or SHA-512.',
    );
  }
  if (!identifier.is(algorithm.encoded)) throw derError('it has an odd signature algorithm');
  return algorithm;
}

/** The algorithm that a key of this kind signs with. */
export function signatureAlgorithmFor(kind: KeyKind): SignatureAlgorithm {
  const algorithm = byOid.get(oids[preferred[kind]]);
  if (algorithm === undefined) throw new AppError('internal', 'The table of signature algorithms is incomplete.');
  return algorithm;
}

/** The signed element: SEQUENCE { what is signed, algorithm, signature }, as in certificates and signing requests. */
export function signDer(tbs: Buffer, algorithm: SignatureAlgorithm, privateKey: KeyObject): Buffer {
  return der.sequence(tbs, algorithm.encoded, der.bitString(cryptoSign(algorithm.hash, tbs, privateKey)));
}

/**
 * Whether `signature` over `tbs` was made by the key: a KeyObject, or PEM where it is used once. False, too, when the key is of
 * another kind than the algorithm, or is none.
 */
export function verifySignature(
  algorithm: SignatureAlgorithm,
  tbs: Buffer,
  signature: Buffer,
  signer: { readonly key: KeyObject | string; readonly kind: KeyKind },
): boolean {
  if ((signer.kind === 'rsa') !== (algorithm.family === 'rsa')) return false;
  try {
    return cryptoVerify(algorithm.hash, tbs, signer.key, signature);
  } catch {
    return false;
  }
}

function row(
  name: OidName,
  hash: SignatureAlgorithm['hash'],
  family: SignatureAlgorithm['family'],
): SignatureAlgorithm {
  const encoded = family === 'rsa' ? der.sequence(der.oid(name), der.nullValue()) : der.sequence(der.oid(name));
  return Object.freeze({ name, hash, family, encoded });
}
