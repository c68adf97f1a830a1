import { resolve } from 'node:path';
import type { Command } from 'commander';
import { parseDuration } from '../../base/config-types.ts';
import { AppError } from '../../base/errors.ts';
import { roles } from '../../core/identity/roles.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import { kinds, listAll } from '../kinds.ts';
import { choice, openSession, output, wantsCurl } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList } from '../output.ts';
import { createSecretFile } from '../secret-file.ts';
import { relative } from '../table.ts';
import type { World } from '../world.ts';
import type { DeleteOptions } from './delete.ts';
import { addYes, deleteOne } from './delete.ts';

const kind = kinds.token;
const MAX_SECONDS = 90 * 24 * 60 * 60;

interface CreateOptions {
  readonly expiresIn: string;
  readonly role?: string;
  readonly out?: string;
  readonly dryRun?: boolean;
}

export function addToken(program: Command, world: World, failed: () => void): void {
  const token = program
    .command('token')
    .description(
      'Tokens of administrators: each has a name, which is the author of what is done with it, and a role, which says what that can be.',
    );
  addDryRun(token.command('create'))
    .description(
      'Make a token for an administrator of that name; only the admin token of the data directory may. The token is shown ' +
        'once: on standard output, or in a file with --out.',
    )
    .argument('<name>', 'who holds it: lower-case letters, digits and -._@')
    .requiredOption('--expires-in <duration>', 'how long it can be used, from 1m to 90d')
    .addOption(choice('--role <role>', 'what its holder may do; default: admin', roles))
    .option('--out <file>', 'write it to a new file that only you can read (0600)')
    .action((name: string, options: CreateOptions, command: Command) => create(name, options, command, world));
  token
    .command('list')
    .description('List the tokens, without the tokens themselves, and when each was last used.')
    .addOption(output(...formats))
    .action(async (options: { readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      printList(world, options.output, kind.view, await listAll(client, kind, {}));
    });
  addYes(addDryRun(token.command('revoke')))
    .description('Revoke a token: it is worth nothing from then on. Asks first; --yes answers for scripts.')
    .argument('<id>', kind.reference)
    .action((id: string, options: DeleteOptions, command: Command) =>
      deleteOne(kind, id, { options, command, world, failed }),
    );
}

async function create(name: string, options: CreateOptions, command: Command, world: World): Promise<void> {
  const ttlSeconds = parseDuration(options.expiresIn);
  if (ttlSeconds === undefined || ttlSeconds < 60 || ttlSeconds > MAX_SECONDS) {
    const given = JSON.stringify(options.expiresIn);
    throw new AppError('usage', `--expires-in must be a duration from 1m to 90d, such as 30d, not ${given}.`);
  }
  const { client } = await openSession(command, world);
  const only = options.dryRun === true || wantsCurl(command);
  const path = options.out === undefined || only ? undefined : resolve(world.cwd, options.out);
  const file = path === undefined ? undefined : await createSecretFile(path);
  try {
    const { body } = await client.call<{ readonly token: string; readonly expiresAt: string }>({
      method: 'POST',
      path: kind.path,
      ...dryRun(options),
      json: { name, ttlSeconds, ...(options.role !== undefined && { role: options.role }) },
    });
    if (options.dryRun === true) {
      tellWarnings(world, name, body);
      world.stderr(`Dry run: a token for ${name} can be made; none was.\n`);
      return;
    }
    if (file === undefined) world.stdout(`${body.token}\n`);
    else await file.writeFile(`${body.token}\n`);
    const where = path === undefined ? '' : ` It is in ${path}.`;
    world.stderr(`A token for ${name}, expires ${relative(body.expiresAt, world.clock.now())}.${where}\n`);
  } finally {
    await file?.close();
  }
}
