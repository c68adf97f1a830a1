import type { KeyObject } from 'node:crypto';
import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { AppError } from '../../../base/errors.ts';
import { checkPublicKey } from '../../../core/identity/keys.ts';
import type { SigningKey } from './key-store.ts';

/**
 * How a software key is written down: a JSON object with its version and trust domain, so that a key is never used for a
 * domain it was not made for.
 */
export interface SavedKey {
  readonly privateKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly certificate?: Buffer;
}

const version = 1;

export function encodeKey(privateKey: KeyObject, o: { readonly trustDomain: string; readonly now: number }): Buffer {
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64');
  return Buffer.from(JSON.stringify({ version, trustDomain: o.trustDomain, createdAt: o.now, privateKey: pkcs8 }));
}

/** @throws AppError `incompatible-data` for a key of another trust domain, of an unknown version, or damaged */
export function decodeKey(saved: Buffer, name: string, trustDomain: string): SavedKey {
  const fields = parseObject(saved, name);
  if (fields.version !== version) {
    throw new AppError(
      'incompatible-data',
      `The ${name} key was saved by a version of Writ that this one does not know. Run that version, or a newer one.`,
    );
  }
  if (fields.trustDomain !== trustDomain) {
    throw new AppError(
      'incompatible-data',
      `The key store belongs to the trust domain ${String(fields.trustDomain)}, not to ${trustDomain}. ` +
        'Name that one in the configuration, or give another data directory.',
    );
  }
  const { createdAt, privateKey, certificate } = fields;
  if (typeof createdAt !== 'number' || typeof privateKey !== 'string') throw damaged(name);
  if (certificate !== undefined && typeof certificate !== 'string') throw damaged(name);
  return {
    privateKey: readPrivateKey(privateKey, name),
    createdAt,
    ...(certificate !== undefined && { certificate: Buffer.from(certificate, 'base64') }),
  };
}

/** A key of this process as a key store gives it out. */
export function signingKey({ privateKey, createdAt, certificate }: SavedKey): SigningKey {
  return Object.freeze({
    publicKey: createPublicKey(privateKey),
    createdAt,
    ...(certificate !== undefined && { certificate }),
    // Not by libuv's threads: a signature takes 30 µs, and going there and back as much again.
    sign: async (data: Buffer) => sign('sha256', data, privateKey),
  });
}

export function damaged(name: string, cause?: unknown): AppError {
  return new AppError('incompatible-data', `The ${name} key in the key store is damaged. Restore it from a backup.`, {
    cause,
  });
}

function readPrivateKey(pkcs8: string, name: string): KeyObject {
  try {
    const privateKey = createPrivateKey({ key: Buffer.from(pkcs8, 'base64'), format: 'der', type: 'pkcs8' });
    if (checkPublicKey(createPublicKey(privateKey)).kind !== 'p256') throw new AppError('invalid', 'It is not P-256.');
    return privateKey;
  } catch (cause) {
    throw damaged(name, cause);
  }
}

function parseObject(saved: Buffer, name: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(saved.toString('utf8'));
  } catch (cause) {
    throw damaged(name, cause);
  }
  if (typeof value !== 'object' || value === null) throw damaged(name);
  return value as Readonly<Record<string, unknown>>;
}
