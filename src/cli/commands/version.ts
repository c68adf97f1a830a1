import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import { serverInfo } from '../info.ts';
import { openSession, refuseCurl, wantsCurl } from '../options.ts';
import type { World } from '../world.ts';

export function addVersion(program: Command, world: World): void {
  program
    .command('version')
    .description('Print the version of this program, and of the control plane if one can be asked.')
    .option('--client', 'only this program')
    .action(async (options: { client?: boolean }, command: Command) => {
      if (options.client === true) refuseCurl(command, 'version --client');
      // With --curl, standard output is a script.
      if (!wantsCurl(command)) world.stdout(`writ    ${world.version}\n`);
      if (options.client === true) return;
      try {
        const { client } = await openSession(command, world);
        world.stdout(`server  ${(await serverInfo(client)).body.version}\n`);
      } catch (error) {
        if (!(error instanceof AppError) || wantsCurl(command)) throw error;
        world.stderr(`server  unknown: ${error.message}\n`);
      }
    });
}
