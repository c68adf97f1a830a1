import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isMissing, readSecretFile, reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { answerChallenge } from '../../../core/identity/possession.ts';
import type { Prover } from './proof.ts';

const NONCE_BYTES = 32;
const MAX_CERTIFICATES = 8;

/** The machine's certificate, of whoever equips machines: a vendor, a cloud, a configuration management. The key stays here. */
export function x509popProver(
  o: { readonly certificateFile: string; readonly keyFile: string },
  random: RandomBytes,
): Prover {
  return {
    method: 'x509pop',
    repeatable: true,
    async read() {
      const chain = await readChain(o.certificateFile);
      const pem = await readSecretFile(o.keyFile);
      const leaf = chain?.[0];
      if (chain === undefined || leaf === undefined || pem === undefined) return undefined;
      const privateKey = readKey(o.keyFile, pem);
      if (!leaf.checkPrivateKey(privateKey)) {
        throw new AppError('usage', `${o.keyFile} is not the key of the certificate in ${o.certificateFile}.`);
      }
      return {
        payload: Buffer.concat(chain.map((certificate) => certificate.raw)),
        answer: (challenge, context) =>
          answerChallenge(challenge, { ...context, certificate: leaf.raw, privateKey, nonce: random(NONCE_BYTES) }),
      };
    },
  };
}

async function readChain(path: string): Promise<readonly X509Certificate[] | undefined> {
  try {
    const blocks = (await readFile(path, 'utf8')).match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g);
    if (blocks === null || blocks.length > MAX_CERTIFICATES) {
      throw new AppError(
        'usage',
        `${path} must hold 1 to ${MAX_CERTIFICATES} PEM certificates, the machine's own first.`,
      );
    }
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    if (cause instanceof AppError) throw cause;
    throw new AppError('usage', `Cannot read the certificate in ${path}: ${reason(cause)}.`, { cause });
  }
}

function readKey(path: string, pem: Buffer) {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw new AppError('usage', `${path} is no private key in PEM without a passphrase.`, { cause });
  }
}
