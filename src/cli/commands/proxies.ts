import type { Command } from 'commander';
import { kinds, listAll } from '../kinds.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList } from '../output.ts';
import type { World } from '../world.ts';

/** The question that is asked most while policy changes: who has it, who has not, and since when. */
export function addProxies(program: Command, world: World): void {
  program
    .command('proxies')
    .summary('Show the sidecars, and what each has in force.')
    .description(
      'Show the sidecars. REVISION is what each has acknowledged and what it should have; STALE is since when these differ; CHANGE ' +
        'is the policy change that is being rolled out there.',
    )
    .option('--stale', 'only those that do not have what they should')
    .addOption(output(...formats))
    .action(async (options: { readonly stale?: boolean; readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      const all = await listAll(client, kinds.proxy, {});
      const items = options.stale === true ? all.filter(({ staleSince }) => staleSince !== null) : all;
      printList(world, options.output, kinds.proxy.view, items);
    });
}
