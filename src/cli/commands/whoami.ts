import type { Command } from 'commander';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { printOne } from '../output.ts';
import type { World } from '../world.ts';

/** As REST gives it. */
interface WhoAmI {
  readonly name: string;
  readonly role: string;
  readonly credential: string;
  readonly permissions: readonly string[];
}

const columns = [
  { head: 'NAME', cell: (who: WhoAmI) => who.name },
  { head: 'ROLE', cell: (who: WhoAmI) => who.role },
  { head: 'PERMISSIONS', cell: (who: WhoAmI) => who.permissions.join(' ') },
  { head: 'TOKEN', wide: true, cell: (who: WhoAmI) => who.credential },
];

/** `writ whoami`: who the token says that one is, and what that may do. */
export function addWhoAmI(program: Command, world: World): void {
  program
    .command('whoami')
    .description('Show whose token is used, its role, and what that may do.')
    .addOption(output('table', 'wide', 'json', 'yaml', 'name'))
    .action(async (options: { readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      const { body } = await client.call<WhoAmI>({ method: 'GET', path: '/v1/whoami' });
      printOne(world, options.output, { columns, name: ({ name }) => name }, body);
    });
}
