import { resolve } from 'node:path';
import type { Command } from 'commander';
import { sleep } from '../../base/clock.ts';
import { reason, writeFileDurably } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { Client } from '../client.ts';
import { openSession } from '../options.ts';
import type { World } from '../world.ts';

/** What is recorded now is covered by a checkpoint in a second. */
const MAX_TRIES = 10;

/** `writ audit prove`: the proof that one event is on the record. */
export function addProve(audit: Command, world: World): void {
  audit
    .command('prove <event-id>')
    .summary('Get the proof that an event is on the record.')
    .description(
      'Get the proof that an event (of writ audit search or writ audit identity) is on the record, as a .tlog-proof: it can be checked years later, without this control plane, by: writ audit verify.',
    )
    .option('-o, --output <file>', 'where it is written; default: standard output')
    .action(async (id: string, options: { output?: string }, command: Command) => {
      const { client } = await openSession(command, world);
      const proof = await prove(client, id, world);
      if (options.output === undefined || options.output === '-') {
        world.stdout(proof);
        return;
      }
      const path = resolve(world.cwd, options.output);
      try {
        await writeFileDurably(path, proof, { mode: 0o644 });
      } catch (cause) {
        throw new AppError('usage', `Cannot write ${path}: ${reason(cause)}.`, { cause });
      }
      world.stderr(`${options.output} holds the proof. Check it: writ audit verify ${options.output} --policy FILE\n`);
    });
}

async function prove(client: Client, id: string, world: World): Promise<string> {
  for (let tries = 1; ; tries++) {
    try {
      return await client.text({
        method: 'GET',
        path: `/v1/audit/proofs/${encodeURIComponent(id)}`,
        headers: { accept: 'text/plain, application/problem+json' },
      });
    } catch (error) {
      const isPending =
        error instanceof AppError && error.code === 'unavailable' && error.retryAfterSeconds !== undefined;
      if (!isPending || tries === MAX_TRIES || world.signal.aborted) throw error;
      await sleep(world.clock, 1000, world.signal);
    }
  }
}
