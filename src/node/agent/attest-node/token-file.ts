import { open } from 'node:fs/promises';
import { isMissing, reason } from '../../../base/durable.ts';
import { AppError } from '../../../base/errors.ts';
import type { Prover } from './proof.ts';

const MAX_TOKEN_BYTES = 16 * 1024;

/**
 * A token that somebody else keeps fresh in a file. Its mode is not looked at: the kubelet makes projected tokens readable for
 * the whole pod, whose identity it is.
 */
export function tokenFileProver(o: { readonly method: 'k8s_psat' | 'oidc'; readonly tokenFile: string }): Prover {
  return {
    method: o.method,
    repeatable: true,
    async read() {
      const token = await readToken(o.tokenFile);
      return token === undefined || token === '' ? undefined : { payload: Buffer.from(token) };
    },
  };
}

async function readToken(path: string): Promise<string | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      // One byte more than allowed: whatever lies there, not all of it is read.
      const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_TOKEN_BYTES + 1), 0, MAX_TOKEN_BYTES + 1, 0);
      if (bytesRead > MAX_TOKEN_BYTES) throw new AppError('usage', `${path} is too large to be a token.`);
      return buffer.toString('utf8', 0, bytesRead).trim();
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    if (cause instanceof AppError) throw cause;
    throw new AppError('usage', `Cannot read the token in ${path}: ${reason(cause)}.`, { cause });
  }
}
