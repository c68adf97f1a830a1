import { join } from 'node:path';
import { makePrivateDirectory, readSecretFile, reason, writeFileDurably } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom } from '../../base/random.ts';
import type { SealCost } from './seal.ts';
import { seal, unseal } from './seal.ts';

/**
 * Where the control plane keeps its secrets: root key and JWT key. The port behind which a file, and later an HSM or a cloud
 * key service, stands.
 */
export interface KeyStore {
  /**
   * The secret of that name, or `undefined` when none was ever saved.
   *
   * @throws AppError `incompatible-data` when it is there and damaged; `usage` when it cannot be opened with what was given
   */
  load(name: string): Promise<Buffer | undefined>;
  /** Durable and whole once it returns; replaces what had the name. */
  save(name: string, secret: Buffer): Promise<void>;
}

/** For tests and for control planes that shall forget everything when they end. */
export class MemoryKeyStore implements KeyStore {
  readonly #secrets = new Map<string, Buffer>();

  load(name: string): Promise<Buffer | undefined> {
    const secret = this.#secrets.get(checkSecretName(name));
    return Promise.resolve(secret === undefined ? undefined : Buffer.from(secret));
  }

  save(name: string, secret: Buffer): Promise<void> {
    this.#secrets.set(checkSecretName(name), Buffer.from(secret));
    return Promise.resolve();
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
export class SealedFileKeyStore implements KeyStore {
  readonly #directory: string;
  readonly #passphrase: Buffer;
  readonly #random: RandomBytes;
  readonly #cost: SealCost | undefined;

  /** @throws AppError `usage` for a passphrase that is too short */
  constructor(options: SealedFileOptions) {
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

  #path(name: string): string {
    return join(this.#directory, `${checkSecretName(name)}.sealed`);
  }
}

/** Names are ours, never a caller's; this keeps a slip from becoming a path. */
function checkSecretName(name: string): string {
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(name)) throw new AppError('internal', `Not the name of a secret: ${name}`);
  return name;
}
