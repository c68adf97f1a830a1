import type { KeyObject } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  isMissing,
  makePrivateDirectory,
  readSecretFile,
  reason,
  syncDirectory,
  writeFileDurably,
} from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom } from '../../../base/random.ts';
import { generateKeyPair } from '../../../core/identity/keys.ts';
import { decodeKey, encodeKey, signingKey } from './saved-key.ts';
import type { SealCost } from './seal.ts';
import { seal, unseal } from './seal.ts';

/**
 * Where the keys of authorities live. The port behind which sealed files, and later an HSM or a cloud key service, stand: a
 * key is made there and signs there, so a store whose keys can never be taken out fits. docs/decisions/key-stores.md says
 * what such a store has to promise.
 *
 * All replicas of a control plane use one store: a key that one of them makes, the others open.
 */
export interface KeyStore {
  /**
   * Makes an ECDSA P-256 key. Durable once it returns: whoever opens that name afterwards, here or on another replica, has
   * it. Names are used once.
   *
   * @throws AppError `conflict` when there is one of that name; `unavailable`
   */
  create(name: string, o: { readonly trustDomain: string; readonly now: number }): Promise<SigningKey>;
  /**
   * The key of that name, or `undefined` when there is none.
   *
   * @throws AppError `incompatible-data` when it is damaged or of another trust domain; `usage` when it cannot be opened with
   *   what was given; `unavailable`
   */
  open(name: string, o: { readonly trustDomain: string }): Promise<SigningKey | undefined>;
  /** For good: an authority that is not trusted any more must not be able to sign. Idempotent. */
  delete(name: string): Promise<void>;
  /** Of all keys. */
  names(): Promise<readonly string[]>;
}

/** A key that signs, wherever it is. */
export interface SigningKey {
  /** P-256. */
  readonly publicKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  /** DER; only of roots that earlier versions made, which kept it beside the key. */
  readonly certificate?: Buffer;
  /**
   * ECDSA with SHA-256 over `data`, as X.509 writes signatures (RFC 3279 §2.2.3). Roots sign once a day and replica; JWT keys
   * for every token.
   *
   * @throws AppError `unavailable`
   */
  sign(data: Buffer): Promise<Buffer>;
}

/** Bytes under names: what a key store of software keys needs. */
export interface SecretStore {
  /**
   * The secret of that name, or `undefined` when none was ever saved.
   *
   * @throws AppError `incompatible-data` when it is there and damaged; `usage` when it cannot be opened with what was given
   */
  load(name: string): Promise<Buffer | undefined>;
  /** Durable and whole once it returns; replaces what had the name. */
  save(name: string, secret: Buffer): Promise<void>;
  /** Idempotent. */
  delete(name: string): Promise<void>;
  names(): Promise<readonly string[]>;
}

/** Keys in this process, kept as secrets. */
abstract class SoftwareKeyStore implements KeyStore, SecretStore {
  abstract load(name: string): Promise<Buffer | undefined>;
  abstract save(name: string, secret: Buffer): Promise<void>;
  abstract delete(name: string): Promise<void>;
  abstract names(): Promise<readonly string[]>;

  async create(name: string, o: { readonly trustDomain: string; readonly now: number }): Promise<SigningKey> {
    if ((await this.names()).includes(name)) throw new AppError('conflict', `There is a key ${name} already.`);
    const { privateKey } = generateKeyPair();
    await this.save(name, encodeKey(privateKey, o));
    return signingKey({ privateKey, createdAt: o.now });
  }

  async open(name: string, o: { readonly trustDomain: string }): Promise<SigningKey | undefined> {
    const secret = await this.load(name);
    return secret === undefined ? undefined : signingKey(decodeKey(secret, name, o.trustDomain));
  }
}

/** For tests and for control planes that shall forget everything when they end. */
export class MemoryKeyStore extends SoftwareKeyStore {
  readonly #secrets = new Map<string, Buffer>();

  load(name: string): Promise<Buffer | undefined> {
    const secret = this.#secrets.get(checkSecretName(name));
    return Promise.resolve(secret === undefined ? undefined : Buffer.from(secret));
  }

  save(name: string, secret: Buffer): Promise<void> {
    this.#secrets.set(checkSecretName(name), Buffer.from(secret));
    return Promise.resolve();
  }

  delete(name: string): Promise<void> {
    this.#secrets.delete(checkSecretName(name));
    return Promise.resolve();
  }

  names(): Promise<readonly string[]> {
    return Promise.resolve([...this.#secrets.keys()]);
  }
}

/** Shortest passphrase that is taken, in bytes. It guards the root of all identities against whoever copies the file. */
export const MIN_PASSPHRASE_BYTES = 12;

export interface SealedFileOptions {
  /** Holds one file `<name>.sealed` per secret; created, mode 0700, where missing. */
  readonly directory: string;
  /** From a 0600 file or a systemd credential; at least 12 bytes. Never from argv or the environment, which others can read. */
  readonly passphrase: Buffer;
  readonly random?: RandomBytes;
  /** How dear one guess at the passphrase is. Default: 64 MiB and about 0.4 s. Files say what they were sealed with. */
  readonly cost?: SealCost;
}

/** Secrets in files of mode 0600, each sealed with a key derived from one passphrase. */
export class SealedFileKeyStore extends SoftwareKeyStore {
  readonly #directory: string;
  readonly #passphrase: Buffer;
  readonly #random: RandomBytes;
  readonly #cost: SealCost | undefined;

  /** @throws AppError `usage` for a passphrase that is too short */
  constructor(options: SealedFileOptions) {
    super();
    if (options.passphrase.length < MIN_PASSPHRASE_BYTES) {
      throw new AppError(
        'usage',
        `The passphrase for the key files is shorter than ${MIN_PASSPHRASE_BYTES} bytes. Choose a longer one, for example: openssl rand -hex 32`,
      );
    }
    this.#directory = options.directory;
    this.#passphrase = options.passphrase;
    this.#random = options.random ?? secureRandom;
    this.#cost = options.cost;
  }

  async load(name: string): Promise<Buffer | undefined> {
    const path = this.#path(name);
    const sealed = await readSecretFile(path);
    if (sealed === undefined) return undefined;
    return unseal(sealed, { name, passphrase: this.#passphrase, path });
  }

  async save(name: string, secret: Buffer): Promise<void> {
    const path = this.#path(name);
    const sealed = await seal(secret, { name, passphrase: this.#passphrase, random: this.#random, cost: this.#cost });
    await makePrivateDirectory(this.#directory);
    try {
      await writeFileDurably(path, sealed, { mode: 0o600 });
    } catch (cause) {
      throw new AppError('unavailable', `Cannot write ${path}: ${reason(cause)}. Mend the disk or its permissions.`, {
        cause,
      });
    }
  }

  async delete(name: string): Promise<void> {
    const path = this.#path(name);
    try {
      await rm(path, { force: true });
      // What a power cut brings back is sealed, and of an authority that nobody trusts any more.
      await syncDirectory(this.#directory);
    } catch (cause) {
      if (isMissing(cause)) return;
      throw new AppError('unavailable', `Cannot delete ${path}: ${reason(cause)}. Mend the disk or its permissions.`, {
        cause,
      });
    }
  }

  async names(): Promise<readonly string[]> {
    try {
      const files = await readdir(this.#directory);
      return files.flatMap((file) => /^([a-z][a-z0-9-]{0,63})\.sealed$/.exec(file)?.[1] ?? []);
    } catch (cause) {
      if (isMissing(cause)) return [];
      throw new AppError('unavailable', `Cannot read ${this.#directory}: ${reason(cause)}.`, { cause });
    }
  }

  #path(name: string): string {
    return join(this.#directory, `${checkSecretName(name)}.sealed`);
  }
}

/** Names are ours, never a caller's; this keeps a slip from becoming a path. */
function checkSecretName(name: string): string {
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(name)) throw new AppError('internal', `Not the name of a secret: ${name}`);
  return name;
}
