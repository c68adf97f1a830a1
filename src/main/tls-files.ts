import { readFile } from 'node:fs/promises';
import type { SecureContextOptions } from 'node:tls';
import { createSecureContext } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { reason } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Watch } from '../base/watch.ts';
import { WatchSource } from '../base/watch.ts';

export interface TlsFiles {
  /** PEM, leaf first. */
  readonly certificateFile: string;
  /** PEM. */
  readonly keyFile: string;
}

/** How soon a new certificate is taken up: whoever renews them does so days before the end. */
const LOOK_EVERY_MS = 10_000;

/**
 * A certificate and its key from files that somebody else replaces. Both are read again every ten seconds; a pair that does
 * not fit together (one of the two was replaced, the other not yet) is left for the next look, and the one before goes on.
 *
 * @throws AppError `usage` when there is no good pair to begin with
 */
export async function watchTlsFiles(
  files: TlsFiles,
  deps: { readonly clock: Clock; readonly logger: Logger },
): Promise<{ readonly tls: Watch<SecureContextOptions>; readonly stop: () => void }> {
  const { clock, logger } = deps;
  const tls = new WatchSource(await read(files));
  let stopped = false;
  let cancel = () => {};
  const look = async () => {
    try {
      const next = await read(files);
      if (stopped) return;
      if (next.cert !== tls.current.cert || next.key !== tls.current.key) {
        tls.set(next);
        logger.info({ file: files.certificateFile }, 'a new TLS certificate is in use');
      }
    } catch (error) {
      if (!stopped) logger.warn({ err: error }, 'the TLS certificate could not be read again; the one before goes on');
    }
    if (!stopped) schedule();
  };
  const schedule = () => {
    cancel = clock.after(LOOK_EVERY_MS, () => void look());
  };
  schedule();
  return {
    tls,
    stop: () => {
      stopped = true;
      cancel();
    },
  };
}

async function read({ certificateFile, keyFile }: TlsFiles): Promise<{ readonly cert: string; readonly key: string }> {
  const [cert, key] = await Promise.all([readText(certificateFile), readText(keyFile)]);
  try {
    createSecureContext({ cert, key });
  } catch {
    // What OpenSSL says can hold parts of what it read.
    throw new AppError('usage', `${certificateFile} and ${keyFile} are no certificate and its key, in PEM.`);
  }
  return { cert, key };
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new AppError('usage', `Cannot read ${file}: ${reason(cause)}.`, { cause });
  }
}
