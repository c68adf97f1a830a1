import { createCipheriv, createDecipheriv, hkdfSync, scrypt, timingSafeEqual } from 'node:crypto';
import { AppError } from '../../../base/errors.ts';
import type { RandomBytes } from '../../../base/random.ts';

/**
 * The format of a sealed secret: one JSON object.
 *
 *   {"format":"writ-sealed","version":1,"kdf":"scrypt","logN":16,"r":8,"p":2,"salt":…,"check":…,
 *    "cipher":"aes-256-gcm","nonce":…,"ciphertext":…,"tag":…}        bytes in base64
 *
 * scrypt (RFC 7914) makes 32 bytes of the passphrase and a fresh salt. HKDF makes two keys of those: one encrypts with
 * AES-256-GCM, the other is stored as `check`, so that a wrong passphrase and a damaged file can be told apart; whoever has the
 * file can test guesses against the tag anyway. The whole header and the secret's name are authenticated, so files cannot be
 * swapped and parameters cannot be weakened. Each sealing has a new salt, hence a new key: nonces never repeat under one key.
 */

/** Cost of scrypt: N = 2^logN, memory 128 · N · r bytes, `p` times over. */
export interface SealCost {
  /** 14 to 20. */
  readonly logN: number;
  /** 8 is the only one. */
  readonly r: number;
  /** 1 to 16. */
  readonly p: number;
}

/** As dear for an attacker as N = 2^17 with p = 1, at half the memory: 64 MiB. */
export const defaultCost: SealCost = Object.freeze({ logN: 16, r: 8, p: 2 });

const version = 1;
/** A sealed secret has about 1 KB. */
const MAX_SEALED_BYTES = 64 * 1024;

interface Header {
  readonly format: 'writ-sealed';
  readonly version: number;
  readonly kdf: 'scrypt';
  readonly logN: number;
  readonly r: number;
  readonly p: number;
  readonly salt: string;
  readonly check: string;
  readonly cipher: 'aes-256-gcm';
  readonly nonce: string;
}

/** Encrypts a secret under a passphrase. */
export async function seal(
  secret: Buffer,
  o: {
    /** What the secret is called; needed again to open it. */
    readonly name: string;
    readonly passphrase: Buffer;
    readonly random: RandomBytes;
    readonly cost?: SealCost | undefined;
  },
): Promise<Buffer> {
  const cost = o.cost ?? defaultCost;
  const salt = o.random(16);
  const nonce = o.random(12);
  const keys = await deriveKeys(o.passphrase, salt, cost);
  const header: Header = {
    format: 'writ-sealed',
    version,
    kdf: 'scrypt',
    logN: cost.logN,
    r: cost.r,
    p: cost.p,
    salt: salt.toString('base64'),
    check: keys.check.toString('base64'),
    cipher: 'aes-256-gcm',
    nonce: nonce.toString('base64'),
  };
  const cipher = createCipheriv('aes-256-gcm', keys.encryption, nonce);
  cipher.setAAD(authenticated(header, o.name));
  const ciphertext = Buffer.concat([cipher.update(secret), cipher.final()]).toString('base64');
  return Buffer.from(`${JSON.stringify({ ...header, ciphertext, tag: cipher.getAuthTag().toString('base64') })}\n`);
}

/**
 * Opens what `seal` made.
 *
 * @throws AppError `usage` for a wrong passphrase; `incompatible-data` for a file that is damaged, tampered with, of another
 *   name, or of a version that this program does not know
 */
export async function unseal(
  sealed: Buffer,
  o: {
    readonly name: string;
    readonly passphrase: Buffer;
    /** For messages. */
    readonly path: string;
  },
): Promise<Buffer> {
  const { header, ciphertext, tag } = parse(sealed, o.path);
  const keys = await deriveKeys(o.passphrase, bytes(header.salt, 16, o.path), header);
  if (!timingSafeEqual(keys.check, bytes(header.check, 16, o.path))) {
    throw new AppError(
      'usage',
      `The passphrase does not open ${o.path}. Give the one that it was sealed with, or restore the file that belongs to it.`,
    );
  }
  const decipher = createDecipheriv('aes-256-gcm', keys.encryption, bytes(header.nonce, 12, o.path), {
    authTagLength: 16,
  });
  decipher.setAAD(authenticated(header, o.name));
  decipher.setAuthTag(bytes(tag, 16, o.path));
  try {
    return Buffer.concat([decipher.update(Buffer.from(ciphertext, 'base64')), decipher.final()]);
  } catch (cause) {
    throw damaged(o.path, 'its content was changed', cause);
  }
}

/** Everything here is attacker-controlled until the tag is verified; the costs are bounded before they are paid. */
function parse(sealed: Buffer, path: string): { header: Header; ciphertext: string; tag: string } {
  if (sealed.length > MAX_SEALED_BYTES) throw damaged(path, 'it is far too long');
  let value: unknown;
  try {
    value = JSON.parse(sealed.toString('utf8'));
  } catch (cause) {
    throw damaged(path, 'it is truncated or not a sealed file', cause);
  }
  if (typeof value !== 'object' || value === null || !('format' in value) || value.format !== 'writ-sealed') {
    throw damaged(path, 'it is not a sealed file');
  }
  const fields = value as Readonly<Record<string, unknown>>;
  if (fields.version !== version) {
    throw new AppError(
      'incompatible-data',
      `${path} was sealed by a version of Writ that this one does not know. Run that version, or a newer one.`,
    );
  }
  const { logN, r, p } = fields;
  if (!isWithin(logN, 14, 20) || !isWithin(r, 8, 8) || !isWithin(p, 1, 16))
    throw damaged(path, 'its parameters are off');
  if (fields.kdf !== 'scrypt' || fields.cipher !== 'aes-256-gcm') throw damaged(path, 'its parameters are off');
  const text = (name: string): string => {
    const field = fields[name];
    if (typeof field !== 'string') throw damaged(path, `${name} is missing`);
    return field;
  };
  const header: Header = {
    format: 'writ-sealed',
    version,
    kdf: 'scrypt',
    logN,
    r,
    p,
    salt: text('salt'),
    check: text('check'),
    cipher: 'aes-256-gcm',
    nonce: text('nonce'),
  };
  return { header, ciphertext: text('ciphertext'), tag: text('tag') };
}

function deriveKeys(passphrase: Buffer, salt: Buffer, cost: SealCost): Promise<{ encryption: Buffer; check: Buffer }> {
  const N = 2 ** cost.logN;
  // Node wants to be told that more than 32 MiB is meant.
  const options = { N, r: cost.r, p: cost.p, maxmem: 128 * N * cost.r + 128 * cost.r * cost.p + 1024 * 1024 };
  return new Promise((resolve, reject) => {
    scrypt(passphrase, salt, 32, options, (error, master) => {
      if (error !== null) return reject(error);
      const key = (use: string, length: number) =>
        Buffer.from(hkdfSync('sha256', master, salt, `writ-sealed ${use}`, length));
      resolve({ encryption: key('encryption', 32), check: key('check', 16) });
    });
  });
}

function authenticated(header: Header, name: string): Buffer {
  return Buffer.from(JSON.stringify([name, header]));
}

function bytes(base64: string, length: number, path: string): Buffer {
  const decoded = Buffer.from(base64, 'base64');
  if (decoded.length !== length) throw damaged(path, 'a field has the wrong length');
  return decoded;
}

function isWithin(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most;
}

function damaged(path: string, why: string, cause?: unknown): AppError {
  return new AppError('incompatible-data', `${path} is damaged: ${why}. Restore it from a backup.`, { cause });
}
