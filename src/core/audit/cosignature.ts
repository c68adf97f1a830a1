import type { KeyObject } from 'node:crypto';
import { sign, verify } from 'node:crypto';
import { AppError, unreachable } from '../../base/errors.ts';
import type { Checkpoint } from './checkpoint.ts';
import { parseCheckpoint } from './checkpoint.ts';
import type { NoteSigner, NoteVerifier } from './note.ts';
import type { NoteKey } from './note-key.ts';
import {
  ed25519PrivateKey,
  ed25519Verifier,
  keyIdOf,
  keyTypes,
  mldsa44PrivateKey,
  publicKeyObject,
  rawPublicKey,
} from './note-key.ts';

/**
 * Cosignatures (c2sp.org/tlog-cosignature): "of all that I have seen of this log at this time, this is the largest, and all of
 * it is consistent". As signature: u64 POSIX seconds ‖ signature over a message that holds the same time.
 *
 * That of ML-DSA-44 covers the first three lines of the checkpoint only.
 */
const TIME_BYTES = 8;
const signatureBytes = { [keyTypes.cosignature]: 64, [keyTypes.mldsa44]: 2420 } as const;

/** A verifier for a key of any kind. */
export function verifierOf(key: NoteKey): NoteVerifier {
  switch (key.type) {
    case keyTypes.ed25519:
      return ed25519Verifier(key);
    case keyTypes.cosignature:
      return cosignatureVerifier(key, keyTypes.cosignature);
    case keyTypes.mldsa44:
      return cosignatureVerifier(key, keyTypes.mldsa44);
    default:
      return unreachable(key.type);
  }
}

/** @param now milliseconds since the epoch, read for every signature */
export function cosigner(name: string, seed: Buffer, now: () => number): NoteSigner {
  return signerOf(name, keyTypes.cosignature, ed25519PrivateKey(seed), now);
}

/** As `cosigner`, with a key that withstands quantum computers. */
export function mldsa44Cosigner(name: string, seed: Buffer, now: () => number): NoteSigner {
  return signerOf(name, keyTypes.mldsa44, mldsa44PrivateKey(seed), now);
}

/** When the cosigner says that it signed: milliseconds since the epoch. The signature must have been verified. */
export function cosignatureTime(signature: Buffer): number {
  return Number(signature.readBigUInt64BE(0)) * 1000;
}

type CosignatureType = typeof keyTypes.cosignature | typeof keyTypes.mldsa44;

function cosignatureVerifier(key: NoteKey, type: CosignatureType): NoteVerifier {
  const publicKey = publicKeyObject(key);
  return {
    name: key.name,
    keyId: keyIdOf(key),
    verify(text, signature) {
      if (signature.length !== TIME_BYTES + signatureBytes[type]) return false;
      const time = signature.readBigUInt64BE(0);
      if (time > MAX_TIME) return false;
      const message = messageOf(type, key.name, time, text);
      return message !== undefined && verify(null, message, publicKey, signature.subarray(TIME_BYTES));
    },
  };
}

const MAX_TIME = 2n ** 63n - 1n;

function signerOf(name: string, type: CosignatureType, privateKey: KeyObject, now: () => number): NoteSigner {
  const key: NoteKey = { name, type, publicKey: rawPublicKey(privateKey) };
  return {
    name,
    keyId: keyIdOf(key),
    sign(text) {
      const time = BigInt(Math.max(Math.floor(now() / 1000), 0));
      const message = messageOf(type, name, time, text);
      if (message === undefined) throw new AppError('internal', 'Only checkpoints can be cosigned.');
      return Buffer.concat([u64(time), sign(null, message, privateKey)]);
    },
  };
}

function messageOf(type: CosignatureType, name: string, time: bigint, text: string): Buffer | undefined {
  const checkpoint = checkpointOrNone(text);
  if (checkpoint === undefined) return undefined;
  if (type === keyTypes.cosignature) return Buffer.from(`cosignature/v1\ntime ${time}\n${text}`, 'utf8');
  return Buffer.concat([
    Buffer.from('subtree/v1\n\0', 'latin1'),
    shortText(name),
    u64(time),
    shortText(checkpoint.origin),
    // The subtree from the first leaf on: the whole log.
    u64(0n),
    u64(BigInt(checkpoint.size)),
    checkpoint.root,
  ]);
}

function checkpointOrNone(text: string): Checkpoint | undefined {
  try {
    return parseCheckpoint(text);
  } catch {
    return undefined;
  }
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

/** Behind its length in one byte; names and origins are no longer. */
function shortText(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}
