import type { KeyObject } from 'node:crypto';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { JWK } from 'jose';
import { calculateJwkThumbprint } from 'jose';
import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import { jwtKey } from '../../core/identity/bundle.ts';
import type { Issuer } from '../../core/identity/ca.ts';
import { createRoot, prepareIssuer } from '../../core/identity/ca.ts';
import { checkPublicKey, generateKeyPair } from '../../core/identity/keys.ts';
import type { KeyStore } from './key-store.ts';
import type { Lifetimes } from './lifetimes.ts';

/**
 * What an authority keeps for good, in its key store: the root under 'root' and the JWT key under 'jwt'. Each is a JSON object
 * with its version and trust domain, so that a key is never used for a domain it was not made for.
 */

export interface RootMaterial {
  readonly issuer: Issuer;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly createdAt: number;
  readonly isNew: boolean;
}

export interface JwtMaterial {
  readonly kid: string;
  readonly privateKey: KeyObject;
  /** As it stands in the bundle. */
  readonly publicJwk: JWK;
  readonly createdAt: number;
  readonly isNew: boolean;
}

export interface MaterialOptions {
  readonly trustDomain: string;
  readonly keyStore: KeyStore;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly random: RandomBytes;
  readonly lifetimes: Lifetimes;
}

const version = 1;

/**
 * Loads both, or makes what was never there. The root is saved first: a crash between the two leaves a root without a JWT key,
 * which is mended here; the other way round the root was lost, and making a new one would lock out every workload unsaid.
 *
 * @throws AppError `incompatible-data` for material of another trust domain, of an unknown version, or damaged
 */
export async function openMaterial(
  o: MaterialOptions,
): Promise<{ readonly root: RootMaterial; readonly jwt: JwtMaterial }> {
  const savedRoot = await o.keyStore.load('root');
  const savedJwt = await o.keyStore.load('jwt');
  if (savedRoot === undefined && savedJwt !== undefined) {
    throw new AppError(
      'incompatible-data',
      'The key store has a JWT key but no root. Restore the root from a backup; or, to begin anew with a new root, ' +
        'remove the JWT key as well and enroll every workload again.',
    );
  }
  const root = savedRoot === undefined ? await makeRoot(o) : readRoot(savedRoot, o.trustDomain);
  const jwt = savedJwt === undefined ? await makeJwt(o) : await readJwt(savedJwt, o.trustDomain);
  return { root, jwt };
}

/** 16 random octets, positive: what tells two certificates of one issuer apart. */
export function newSerial(random: RandomBytes): Buffer {
  const serial = random(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial;
}

async function makeRoot(o: MaterialOptions): Promise<RootMaterial> {
  const key = generateKeyPair();
  const notBefore = o.now - o.lifetimes.backdateSeconds * 1000;
  const notAfter = o.now + o.lifetimes.rootSeconds * 1000;
  const serial = newSerial(o.random);
  const certificate = createRoot({ trustDomain: o.trustDomain, key, serial, notBefore, notAfter });
  await save(o, 'root', key.privateKey, { certificate: certificate.toString('base64') });
  return rootMaterial({ certificate, chain: [], privateKey: key.privateKey }, o.now, true);
}

async function makeJwt(o: MaterialOptions): Promise<JwtMaterial> {
  const { privateKey } = generateKeyPair();
  await save(o, 'jwt', privateKey, {});
  return jwtMaterial(privateKey, o.now, true);
}

async function save(
  o: MaterialOptions,
  name: string,
  privateKey: KeyObject,
  more: Readonly<Record<string, string>>,
): Promise<void> {
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' });
  const fields = {
    version,
    trustDomain: o.trustDomain,
    createdAt: o.now,
    ...more,
    privateKey: pkcs8.toString('base64'),
  };
  await o.keyStore.save(name, Buffer.from(JSON.stringify(fields)));
}

function readRoot(saved: Buffer, trustDomain: string): RootMaterial {
  const fields = readFields(saved, 'root', trustDomain);
  if (typeof fields.certificate !== 'string') throw damaged('root');
  const certificate = Buffer.from(fields.certificate, 'base64');
  const issuer: Issuer = { certificate, chain: [], privateKey: fields.privateKey };
  try {
    if (prepareIssuer(issuer).trustDomain !== trustDomain) throw damaged('root');
  } catch (cause) {
    throw damaged('root', cause);
  }
  return rootMaterial(issuer, fields.createdAt, false);
}

async function readJwt(saved: Buffer, trustDomain: string): Promise<JwtMaterial> {
  const fields = readFields(saved, 'jwt', trustDomain);
  return jwtMaterial(fields.privateKey, fields.createdAt, false);
}

function rootMaterial(issuer: Issuer, createdAt: number, isNew: boolean): RootMaterial {
  const { notBefore, notAfter } = prepareIssuer(issuer).certificate;
  return { issuer, notBefore, notAfter, createdAt, isNew };
}

/** The key's name is its RFC 7638 thumbprint: the same key has the same name wherever it is. */
async function jwtMaterial(privateKey: KeyObject, createdAt: number, isNew: boolean): Promise<JwtMaterial> {
  const publicKey = createPublicKey(privateKey);
  if (checkPublicKey(publicKey).kind !== 'p256') throw damaged('jwt');
  const kid = await calculateJwkThumbprint(jwtKey(publicKey, ''));
  return { kid, privateKey, publicJwk: jwtKey(publicKey, kid), createdAt, isNew };
}

interface SavedFields {
  readonly createdAt: number;
  readonly privateKey: KeyObject;
  readonly certificate: unknown;
}

function readFields(saved: Buffer, name: string, trustDomain: string): SavedFields {
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
  if (typeof fields.createdAt !== 'number' || typeof fields.privateKey !== 'string') throw damaged(name);
  try {
    const pkcs8 = Buffer.from(fields.privateKey, 'base64');
    const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
    return { createdAt: fields.createdAt, privateKey, certificate: fields.certificate };
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

function damaged(name: string, cause?: unknown): AppError {
  return new AppError('incompatible-data', `The ${name} key in the key store is damaged. Restore it from a backup.`, {
    cause,
  });
}
