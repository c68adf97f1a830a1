import { hash } from 'node:crypto';
import { AppError } from '../../../base/errors.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { mldsa44Cosigner } from '../../../core/audit/cosignature.ts';
import type { NoteSigner } from '../../../core/audit/note.ts';
import { isKeyName } from '../../../core/audit/note.ts';
import type { NoteKey } from '../../../core/audit/note-key.ts';
import {
  ed25519PrivateKey,
  ed25519Signer,
  keyTypes,
  mldsa44PrivateKey,
  rawPublicKey,
} from '../../../core/audit/note-key.ts';
import type { SecretStore } from '../../authority/keys/key-store.ts';

/** What a log signs its checkpoints with. */
export interface LogKeys {
  readonly origin: string;
  /** In the order of the signature lines: Ed25519, which every verifier knows, then ML-DSA-44. */
  readonly signers: readonly NoteSigner[];
  /** The public halves, likewise. */
  readonly publicKeys: readonly NoteKey[];
}

export interface OpenKeysOptions {
  readonly secrets: Pick<SecretStore, 'load' | 'save'>;
  readonly origin: string;
  /** Milliseconds since the epoch: of the second signature. */
  readonly now: () => number;
  readonly random: RandomBytes;
  /** Whether keys may be made: not for a log that is there already. */
  readonly mayCreate: boolean;
}

const VERSION = 1;
const SEED_BYTES = 32;

/**
 * The keys of a log, from the key store; made, and durable there, for a new log. They are 64 bytes of seeds, sealed like every
 * other key.
 *
 * Not solved: a key store that gives no secrets out, such as an HSM, has no ML-DSA-44 yet, and `KeyStore` makes P-256 keys only.
 *
 * @throws AppError `incompatible-data` when the log is there and its keys are not, or they are damaged
 */
export async function openLogKeys(o: OpenKeysOptions): Promise<LogKeys> {
  if (!isKeyName(o.origin))
    throw new AppError('usage', 'The origin of the audit log has spaces or a plus, or is too long.');
  const name = secretName(o.origin);
  const saved = await o.secrets.load(name);
  if (saved !== undefined) return keysOf(o, parse(saved, name, o.origin));
  if (!o.mayCreate) {
    throw new AppError(
      'incompatible-data',
      `The keys of the audit log ${o.origin} (${name}) are not in the key store. Restore them from a backup; other keys would make it another log.`,
    );
  }
  const seeds: Seeds = { ed25519: o.random(SEED_BYTES), mldsa44: o.random(SEED_BYTES) };
  await o.secrets.save(
    name,
    Buffer.from(
      JSON.stringify({
        version: VERSION,
        origin: o.origin,
        ed25519: seeds.ed25519.toString('base64'),
        mldsa44: seeds.mldsa44.toString('base64'),
      }),
    ),
  );
  return keysOf(o, seeds);
}

/** Every log has keys of its own. */
function secretName(origin: string): string {
  return `audit-log-${hash('sha256', origin).slice(0, 16)}`;
}

interface Seeds {
  readonly ed25519: Buffer;
  readonly mldsa44: Buffer;
}

function keysOf({ origin, now }: OpenKeysOptions, seeds: Seeds): LogKeys {
  return Object.freeze({
    origin,
    signers: Object.freeze([ed25519Signer(origin, seeds.ed25519), mldsa44Cosigner(origin, seeds.mldsa44, now)]),
    publicKeys: Object.freeze([
      { name: origin, type: keyTypes.ed25519, publicKey: rawPublicKey(ed25519PrivateKey(seeds.ed25519)) },
      { name: origin, type: keyTypes.mldsa44, publicKey: rawPublicKey(mldsa44PrivateKey(seeds.mldsa44)) },
    ]),
  });
}

function parse(saved: Buffer, name: string, origin: string): Seeds {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(saved.toString('utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw damaged(name, cause);
  }
  if (fields.version !== VERSION || fields.origin !== origin) throw damaged(name);
  return { ed25519: seedIn(fields.ed25519, name), mldsa44: seedIn(fields.mldsa44, name) };
}

function seedIn(value: unknown, name: string): Buffer {
  const seed = Buffer.from(typeof value === 'string' ? value : '', 'base64');
  if (seed.length !== SEED_BYTES) throw damaged(name);
  return seed;
}

function damaged(name: string, cause?: unknown): AppError {
  return new AppError(
    'incompatible-data',
    `The keys ${name} in the key store are damaged. Restore them from a backup.`,
    {
      cause,
    },
  );
}
