import { unlink } from 'node:fs/promises';
import type { Command } from 'commander';
import { isMissing } from '../../base/durable.ts';
import { contextFile, findContext, targetOf, writeContext } from '../context.ts';
import type { GlobalOptions } from '../options.ts';
import { refuseCurl } from '../options.ts';
import type { World } from '../world.ts';

export function addContext(program: Command, world: World): void {
  const context = program.command('context').description('Which control plane the other commands speak to.');
  context
    .command('show')
    .description('Show the address in use, and where it comes from.')
    .action(async (_options: unknown, command: Command) => {
      refuseCurl(command, 'context show');
      const found = await findContext(command.optsWithGlobals<GlobalOptions>(), world);
      world.stdout(`address     ${found.addr}\ntoken file  ${found.tokenFile ?? '-'}\nfrom        ${found.source}\n`);
    });
  context
    .command('save')
    .description('Use this control plane from now on: writ context save --addr URL --token-file FILE')
    .action(async (_options: unknown, command: Command) => {
      refuseCurl(command, 'context save');
      const options = command.optsWithGlobals<GlobalOptions>();
      const found = await findContext(options, world);
      await targetOf(found, options.allowPlaintext === true);
      const file = contextFile(world);
      await writeContext(file, {
        addr: found.addr,
        ...(found.tokenFile !== undefined && { tokenFile: found.tokenFile }),
      });
      world.stderr(`Saved in ${file}.\n`);
    });
  context
    .command('forget')
    .description('Remove the saved context.')
    .action(async (_options: unknown, command: Command) => {
      refuseCurl(command, 'context forget');
      const file = contextFile(world);
      await unlink(file).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
      world.stderr(`There is no saved context any more.\n`);
    });
}
