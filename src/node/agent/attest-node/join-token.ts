import { readSecretFile } from '../../../base/durable.ts';
import type { Prover } from './proof.ts';

/** Whoever reads the file before we do could be us; so it must be ours alone. */
export function joinTokenProver(tokenFile: string): Prover {
  return {
    method: 'join_token',
    repeatable: false,
    async read() {
      const token = (await readSecretFile(tokenFile))?.toString('utf8').trim() ?? '';
      return token === '' ? undefined : { payload: Buffer.from(token) };
    },
  };
}
