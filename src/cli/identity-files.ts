import { createPrivateKey } from 'node:crypto';
import { join, resolve } from 'node:path';
import { makePrivateDirectory, reason, writeFileDurably } from '../base/durable.ts';
import { AppError } from '../base/errors.ts';
import type { X509SVIDResponse__Output } from '../wire/gen/X509SVIDResponse.ts';
import { safe } from './style.ts';
import { certificatesOf, pemOf } from './workload-api.ts';
import type { World } from './world.ts';

/**
 * Writes identities as PEM files, by the names that tools for SPIFFE expect: `svid.0.pem` (chain, leaf first), `svid.0.key`
 * (PKCS #8, 0600), `bundle.0.pem`, and `federated_bundle.0.N.pem` for foreign trust domains, in the order of their names. Each file is replaced whole; between two
 * files of a set there is a moment when they are of different age.
 */
export async function writeIdentityFiles(
  message: X509SVIDResponse__Output,
  directory: string,
  world: World,
): Promise<void> {
  const into = resolve(world.cwd, directory);
  try {
    await makePrivateDirectory(into);
    for (const [index, svid] of message.svids.entries()) {
      const key = createPrivateKey({ key: svid.x509SvidKey, format: 'der', type: 'pkcs8' });
      const write = async (name: string, content: string, mode: number) => {
        await writeFileDurably(join(into, name), content, { mode });
        world.stderr(`${safe(svid.spiffeId)}  ${join(into, name)}\n`);
      };
      await write(`svid.${index}.key`, key.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600);
      await write(`svid.${index}.pem`, pemOf(certificatesOf(svid.x509Svid)), 0o644);
      await write(`bundle.${index}.pem`, pemOf(certificatesOf(svid.bundle)), 0o644);
      const foreign = Object.keys(message.federatedBundles).sort();
      for (const [at, name] of foreign.entries()) {
        const der = message.federatedBundles[name] ?? Buffer.alloc(0);
        await write(`federated_bundle.${index}.${at}.pem`, pemOf(certificatesOf(der)), 0o644);
      }
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('usage', `Cannot write into ${into}: ${reason(cause)}.`, { cause });
  }
}
