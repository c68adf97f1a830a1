import { readFile, stat } from 'node:fs/promises';
import { isMissing, readSecretFile, reason } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import type { ServerConfig } from './config.ts';

/** Least length of a passphrase, in bytes. It is for machines: 32 random bytes in hex are 64. */
const MIN_PASSPHRASE_BYTES = 16;

/** The passphrase without its line end. Throws `usage` when it is missing, readable by others or short. */
export async function readPassphrase(file: string): Promise<Buffer> {
  const secret = await readOwnSecret(file);
  if (secret === undefined) {
    throw new AppError(
      'usage',
      `There is no passphrase in ${file}. Make one: (umask 077; openssl rand -hex 32 > ${file})`,
    );
  }
  const passphrase = withoutLineEnd(secret);
  if (passphrase.length < MIN_PASSPHRASE_BYTES) {
    throw new AppError('usage', `The passphrase in ${file} is shorter than ${MIN_PASSPHRASE_BYTES} bytes.`);
  }
  return passphrase;
}

/** The store's address with its secret, if it has one. */
export async function resolveStore(
  store: ServerConfig['store'],
): Promise<{ readonly kind: 'sqlite'; readonly path: string } | { readonly kind: 'postgres'; readonly url: string }> {
  if (store.kind === 'sqlite') return store;
  const secret = await readOwnSecret(store.urlFile);
  const url = secret === undefined ? '' : withoutLineEnd(secret).toString('utf8').trim();
  if (!/^postgres(ql)?:\/\//.test(url)) {
    throw new AppError('usage', `${store.urlFile} must hold a URL such as postgres://user:password@host/database.`);
  }
  return { kind: 'postgres', url };
}

/**
 * systemd hands out credentials with an ACL, which shows as a group permission; nobody else is let into the directory.
 * Everything else must be 0600.
 */
async function readOwnSecret(file: string): Promise<Buffer | undefined> {
  if (!file.startsWith('/run/credentials/')) return readSecretFile(file);
  try {
    if (((await stat(file)).mode & 0o007) !== 0) throw new AppError('usage', `${file} can be read by others.`);
    return await readFile(file);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    if (cause instanceof AppError) throw cause;
    throw new AppError('unavailable', `Cannot read ${file}: ${reason(cause)}.`, { cause });
  }
}

function withoutLineEnd(secret: Buffer): Buffer {
  let end = secret.length;
  while (end > 0 && (secret[end - 1] === 0x0a || secret[end - 1] === 0x0d)) end -= 1;
  return secret.subarray(0, end);
}
