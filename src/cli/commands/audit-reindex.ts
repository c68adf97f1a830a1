import type { Command } from 'commander';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Client } from '../client.ts';
import { openSession } from '../options.ts';
import type { World } from '../world.ts';

/** As REST gives it. */
interface IndexState {
  readonly indexed: number;
  readonly batches: number;
  readonly rebuilding: boolean;
}

const POLL_MS = 500;

/** `writ audit reindex`: the search index follows from the ledger, and can be made again at any time. */
export function addReindex(audit: Command, world: World): void {
  audit
    .command('reindex')
    .summary('Throw the search index away, and build it again from the ledger.')
    .description(
      'Throw the search index away, and build it again from the ledger, while everything goes on. Nothing is lost: what is recorded stands in the ledger. Until it is done searches do not find everything, and say so.',
    )
    .option('--no-wait', 'do not wait until it is built')
    .action(async (options: { wait: boolean }, command: Command) => {
      const { client } = await openSession(command, world);
      await client.call({ method: 'POST', path: '/v1/audit/index:rebuild' });
      if (options.wait) await untilBuilt(client, world);
      else world.stdout('The search index is being built again. See: writ audit reindex --help\n');
    });
}

async function untilBuilt(client: Client, world: World): Promise<void> {
  for (;;) {
    const { indexed, batches, rebuilding } = (await client.call<IndexState>({ method: 'GET', path: '/v1/audit/index' }))
      .body;
    if (world.interactive) world.stderr(`\r${indexed} of ${batches} batches`);
    if (!rebuilding) {
      world.stdout(`${world.interactive ? '\n' : ''}The search index is built again: ${indexed} batches.\n`);
      return;
    }
    await sleep(world.clock, POLL_MS, world.signal);
    if (world.signal.aborted) throw new AppError('unavailable', 'It goes on without you.');
  }
}
