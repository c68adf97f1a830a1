import { resolve } from 'node:path';
import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { IssuedTokenObject } from '../api.ts';
import { shortName } from '../api.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import { ttl } from '../entry-options.ts';
import { findOne, kinds } from '../kinds.ts';
import { openSession, wantsCurl } from '../options.ts';
import { createSecretFile } from '../secret-file.ts';
import { relative } from '../table.ts';
import type { World } from '../world.ts';

export function addJoinToken(program: Command, world: World): void {
  const joinToken = program
    .command('join-token')
    .description('Join tokens: with one, one sidecar or agent enrolls once.');
  addDryRun(joinToken.command('create'))
    .description(
      'Make a join token for an entry, or for an agent. The token is shown once: on standard output, or in a file with --out.',
    )
    .argument('[entry]', 'NAMESPACE/SERVICE or id of the entry')
    .option('--agent', 'for an agent, instead of an entry')
    .option('--ttl <duration>', 'how long it can be used', '10m')
    .option('--out <file>', 'write it to a new file that only you can read (0600)')
    .action(async (reference: string | undefined, options: CreateOptions, command: Command) => {
      const ttlSeconds = ttl('--ttl', options.ttl);
      if ((reference === undefined) !== (options.agent === true)) {
        throw new AppError('usage', 'A join token is for an entry or for an agent: name an entry, or give --agent.');
      }
      const { client } = await openSession(command, world);
      const entry = reference === undefined ? undefined : await findOne(client.reader, kinds.entry, reference);
      const whom = entry === undefined ? 'an agent' : shortName(entry.spiffeId);
      const only = options.dryRun === true || wantsCurl(command);
      const path = options.out === undefined || only ? undefined : resolve(world.cwd, options.out);
      const file = path === undefined ? undefined : await createSecretFile(path);
      try {
        const { body } = await client.call<IssuedTokenObject>({
          method: 'POST',
          path: '/v1/join-tokens',
          ...dryRun(options),
          json: { ...(entry === undefined ? { agent: true } : { entryId: entry.id }), ttlSeconds },
        });
        if (options.dryRun === true) {
          tellWarnings(world, whom, body);
          world.stderr(`Dry run: a token for ${whom} can be made; none was.\n`);
          return;
        }
        if (file === undefined) world.stdout(`${body.token}\n`);
        else await file.writeFile(`${body.token}\n`);
        const where = path === undefined ? '' : ` It is in ${path}.`;
        const expiry = relative(body.expiresAt, world.clock.now());
        world.stderr(`Good for one enrollment as ${whom}, expires ${expiry}.${where}\n`);
      } finally {
        await file?.close();
      }
    });
}

interface CreateOptions {
  readonly ttl: string;
  readonly agent?: boolean;
  readonly out?: string;
  readonly dryRun?: boolean;
}
