import type { KeyObject } from 'node:crypto';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { readSecretFile, writeFileDurably } from '../../../base/durable.ts';
import type { Logger } from '../../../base/log.ts';
import type { RandomBytes } from '../../../base/random.ts';

/**
 * The Ed25519 key that signs batches, kept beside the spool (0600). It is bound to the sidecar's identity by a signature of
 * the certificate's key in every hello, so a lost one is simply replaced.
 */
export async function loadBatchKey(directory: string, logger: Logger, random: RandomBytes): Promise<KeyObject> {
  const path = join(directory, 'batch-key');
  const stored = await readSecretFile(path);
  if (stored !== undefined) {
    try {
      const key = createPrivateKey(stored);
      if (key.asymmetricKeyType === 'ed25519') return key;
    } catch {
      // Falls through to a new key: the old one can be of no use to anybody.
    }
    logger.warn({ path }, 'the batch key is damaged; a new one takes its place');
  }
  const { privateKey } = generateKeyPairSync('ed25519');
  await writeFileDurably(path, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600, random });
  return privateKey;
}
