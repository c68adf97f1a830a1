import type { KeyObject } from 'node:crypto';
import { createPrivateKey, createPublicKey, hash, sign, verify } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import type { NoteSigner, NoteVerifier } from './note.ts';
import { fromBase64, isKeyName } from './note.ts';

/**
 * Keys of signed notes (c2sp.org/signed-note): what they sign is said by the byte that is hashed into their id.
 *
 * - 0x01 Ed25519 over the text: how logs sign checkpoints.
 * - 0x04 Ed25519 with a time, 0x06 ML-DSA-44 with a time: how cosigners sign them (cosignature.ts).
 *
 * 0x02 (ECDSA) and 0x05 (certificate logs) are not read: nothing that speaks to us uses them.
 */
export const keyTypes = { ed25519: 0x01, cosignature: 0x04, mldsa44: 0x06 } as const;
export type KeyType = (typeof keyTypes)[keyof typeof keyTypes];

/** A public key with the name that goes with it. */
export interface NoteKey {
  readonly name: string;
  readonly type: KeyType;
  /** Raw: 32 bytes, or 1,312 of ML-DSA-44. */
  readonly publicKey: Buffer;
}

const publicKeyBytes: Readonly<Record<KeyType, number>> = { 1: 32, 4: 32, 6: 1312 };
const MAX_VKEY_LENGTH = 4096;

export function keyIdOf({ name, type, publicKey }: NoteKey): number {
  return hash(
    'sha256',
    Buffer.concat([Buffer.from(`${name}\n`, 'utf8'), Buffer.from([type]), publicKey]),
    'buffer',
  ).readUInt32BE();
}

/** `<name>+<key id, hex>+<base64 of type and key>`: how a key is written where somebody is told to trust it. */
export function formatVkey(key: NoteKey): string {
  const material = Buffer.concat([Buffer.from([key.type]), key.publicKey]).toString('base64');
  return `${key.name}+${keyIdOf(key).toString(16).padStart(8, '0')}+${material}`;
}

/** Throws `invalid`. */
export function parseVkey(text: string): NoteKey {
  if (text.length > MAX_VKEY_LENGTH) throw invalid('it is too long');
  // The base64 may contain a plus of its own.
  const match = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/u.exec(text);
  const [, name, id, base64] = match ?? [];
  if (name === undefined || id === undefined || base64 === undefined || !isKeyName(name))
    throw invalid('it is not of the form <name>+<key id>+<base64>');
  const material = fromBase64(base64);
  const type = Object.values(keyTypes).find((known) => known === material?.[0]);
  if (material === undefined || type === undefined) throw invalid('its kind is unknown');
  const key: NoteKey = Object.freeze({ name, type, publicKey: material.subarray(1) });
  if (key.publicKey.length !== publicKeyBytes[type])
    throw invalid(`a key of its kind has ${publicKeyBytes[type]} bytes`);
  if (keyIdOf(key) !== Number.parseInt(id, 16)) throw invalid('its id is not that of the key');
  return key;
}

/** The key of type 0x01. */
export function ed25519Verifier(key: NoteKey): NoteVerifier {
  const publicKey = publicKeyObject(key);
  return {
    name: key.name,
    keyId: keyIdOf(key),
    verify: (text, signature) =>
      signature.length === 64 && verify(null, Buffer.from(text, 'utf8'), publicKey, signature),
  };
}

export function ed25519Signer(name: string, seed: Buffer): NoteSigner {
  const privateKey = ed25519PrivateKey(seed);
  const key: NoteKey = { name, type: keyTypes.ed25519, publicKey: rawPublicKey(privateKey) };
  return { name, keyId: keyIdOf(key), sign: (text) => sign(null, Buffer.from(text, 'utf8'), privateKey) };
}

export function publicKeyObject({ type, publicKey }: NoteKey): KeyObject {
  const raw = publicKey.toString('base64url');
  try {
    return createPublicKey({
      format: 'jwk',
      key:
        type === keyTypes.mldsa44 ? { kty: 'AKP', alg: 'ML-DSA-44', pub: raw } : { kty: 'OKP', crv: 'Ed25519', x: raw },
    });
  } catch (cause) {
    throw invalid('it holds no key', cause);
  }
}

/** From its seed of 32 bytes. */
export function ed25519PrivateKey(seed: Buffer): KeyObject {
  // RFC 8410 §7: the seed behind a fixed head.
  return createPrivateKey({
    format: 'der',
    type: 'pkcs8',
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
  });
}

/** From its seed of 32 bytes (FIPS 204 §5.1, ξ). */
export function mldsa44PrivateKey(seed: Buffer): KeyObject {
  // RFC 9881 §6: the seed alone, [0] IMPLICIT OCTET STRING.
  return createPrivateKey({
    format: 'der',
    type: 'pkcs8',
    key: Buffer.concat([Buffer.from('3034020100300b060960864801650304031104228020', 'hex'), seed]),
  });
}

/** Of either kind. */
export function rawPublicKey(privateKey: KeyObject): Buffer {
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' }) as { readonly x?: string; readonly pub?: string };
  return Buffer.from(jwk.pub ?? jwk.x ?? '', 'base64url');
}

function invalid(why: string, cause?: unknown): AppError {
  return new AppError('invalid', `Not a verifier key: ${why}.`, { cause });
}
