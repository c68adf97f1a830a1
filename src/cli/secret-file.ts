import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { reason } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';

/** Made before the token is, so that a token is never lost for want of a place; never an existing file. */
export async function createSecretFile(path: string) {
  try {
    return await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  } catch (cause) {
    if (reason(cause) === 'EEXIST') {
      throw new AppError(
        'usage',
        `${path} exists already, and a token is never written over a file. Name another with --out, or delete that one.`,
        { cause },
      );
    }
    throw new AppError('usage', `Cannot create ${path}: ${reason(cause)}.`, { cause });
  }
}
