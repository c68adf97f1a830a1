import type { Command } from 'commander';
import { Argument } from 'commander';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { AuthorityObject, PageOf } from '../api.ts';
import type { Client } from '../client.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import { openSession, output, wantsCurl } from '../options.ts';
import type { Format, View } from '../output.ts';
import { formats, printList } from '../output.ts';
import { safe } from '../style.ts';
import { relative } from '../table.ts';
import type { World } from '../world.ts';

const kindNames = ['x509', 'jwt', 'wit'] as const;
/** How often --wait looks. */
const WAIT_STEP_MS = 1_000;
/** How many of those that are missing are named. */
const MAX_NAMED = 10;

const view: View<AuthorityObject> = {
  columns: [
    { head: 'ID', cell: (a) => a.id },
    { head: 'KIND', cell: (a) => a.kind },
    { head: 'STATE', cell: (a) => a.state },
    { head: 'SINCE', cell: (a, now) => relative(a.since, now) },
    { head: 'ENDS', cell: (a, now) => relative(a.notAfter, now) },
    { head: 'MISSING', cell: (a) => (a.state === 'prepared' ? String(a.missing.length) : '') },
    // Long enough to tell them apart; -o wide has all of it.
    { head: 'NAME', cell: (a) => `${a.name.slice(0, 16)}…` },
    { head: 'PIN', wide: true, cell: (a) => (a.listener ? `sha256:${a.name}` : '') },
    { head: 'FULL-NAME', wide: true, cell: (a) => a.name },
    { head: 'BUNDLE', wide: true, cell: (a) => String(a.bundleSequence) },
    { head: 'UPSTREAM', wide: true, cell: (a) => (a.upstream ? 'yes' : 'no') },
  ],
  name: (a) => `authority/${a.id}`,
};

/** @param failed called when the user kept what was to be revoked. */
export function addCa(program: Command, world: World, failed: () => void): void {
  const ca = program
    .command('ca')
    .description('The roots and keys that sign identities: x509, jwt and wit. They are rotated by themselves.');
  ca.command('show')
    .description('Show the roots and keys that are trusted, their states, and who has yet to learn of a new one.')
    .addOption(output(...formats))
    .action(async (options: { readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      const items = await list(client);
      printList(world, options.output, view, items);
      if (options.output === 'table' || options.output === 'wide') tellMissing(world, items);
    });
  addRotate(ca, world);
  addDryRun(ca.command('prepare'))
    .description('Make a root or key that everybody learns of and that signs nothing yet.')
    .addArgument(kindArgument())
    .action(async (kind: string, options: ChangeOptions, command: Command) => {
      const { client } = await openSession(command, world);
      tellChange(world, await change(client, ':prepare', options, { kind }), options);
    });
  addChange(
    ca,
    world,
    'activate',
    'From now on it signs. Refused while somebody who is connected could not verify it.',
  );
  addChange(
    ca,
    world,
    'taint',
    'It may be in wrong hands: everybody replaces what it signed, at once. It must be old.',
  );
  addRevoke(ca, world, failed);
}

interface ChangeOptions {
  readonly dryRun?: boolean;
}

interface RotateOptions extends ChangeOptions {
  readonly wait?: boolean;
}

function addRotate(ca: Command, world: World): void {
  addDryRun(ca.command('rotate'))
    .description('Replace a root or key, as soon as everybody who is connected can verify what the next one signs.')
    .addArgument(kindArgument())
    .option('--wait', 'return when the new one signs')
    .action(async (kind: string, options: RotateOptions, command: Command) => {
      const { client } = await openSession(command, world);
      const next = await change(client, ':rotate', options, { kind });
      tellChange(world, next, options);
      if (options.dryRun === true || wantsCurl(command)) return;
      if (options.wait === true) await waitFor(client, world, next);
      else if (next.missing.length > 0) tellMissing(world, [next]);
    });
}

function addRevoke(ca: Command, world: World, failed: () => void): void {
  addDryRun(ca.command('revoke'))
    .description('Nobody trusts it from now on, and its key is deleted. It must be tainted. Asks first.')
    .argument('<id>', 'id of the authority, whole')
    .option('-y, --yes', 'do not ask')
    .action(async (id: string, options: ChangeOptions & { readonly yes?: boolean }, command: Command) => {
      const sure = options.yes === true || options.dryRun === true || wantsCurl(command);
      if (!sure && !world.interactive) {
        throw new AppError('usage', 'Revoking needs a confirmation, and there is no terminal to ask on. Add --yes.');
      }
      const { client } = await openSession(command, world);
      if (!sure && !/^y(es)?$/i.test((await world.ask(`Revoke authority/${id}? [y/N] `)).trim())) {
        world.stderr(`Not confirmed: authority/${id} was kept.\n`);
        failed();
        return;
      }
      tellChange(world, await change(client, `/${encodeURIComponent(id)}:revoke`, options), options);
    });
}

function addChange(ca: Command, world: World, verb: 'activate' | 'taint', description: string): void {
  addDryRun(ca.command(verb))
    .description(description)
    .argument('<id>', 'id of the authority, whole')
    .action(async (id: string, options: ChangeOptions, command: Command) => {
      const { client } = await openSession(command, world);
      tellChange(world, await change(client, `/${encodeURIComponent(id)}:${verb}`, options), options);
    });
}

function kindArgument(): Argument {
  const argument = new Argument('<kind>', 'x509, jwt or wit').argParser((given: string) => {
    if ((kindNames as readonly string[]).includes(given)) return given;
    throw new AppError('usage', `An authority is x509, jwt or wit, not ${JSON.stringify(given)}.`);
  });
  argument.argChoices = [...kindNames];
  return argument;
}

async function list(client: Client): Promise<readonly AuthorityObject[]> {
  return (await client.call<PageOf<AuthorityObject>>({ method: 'GET', path: '/v1/authorities' })).body.items;
}

async function change(client: Client, path: string, options: ChangeOptions, json?: object): Promise<AuthorityObject> {
  const { body } = await client.call<AuthorityObject>({
    method: 'POST',
    path: `/v1/authorities${path}`,
    ...dryRun(options),
    ...(json !== undefined && { json }),
  });
  return body;
}

function tellChange(world: World, changed: AuthorityObject, options: ChangeOptions): void {
  const name = `authority/${safe(changed.id)}`;
  if (options.dryRun === true) tellWarnings(world, name, changed);
  world.stdout(
    `${name} (${safe(changed.kind)}) ${safe(changed.state)}${options.dryRun === true ? ' (dry run)' : ''}\n`,
  );
}

/** Says who is missing whenever that changes. */
async function waitFor(client: Client, world: World, next: AuthorityObject): Promise<void> {
  let said = '';
  for (;;) {
    const found = (await list(client)).find(({ id }) => id === next.id);
    if (found === undefined || found.state !== 'prepared') {
      world.stdout(`authority/${safe(next.id)} (${safe(next.kind)}) ${safe(found?.state ?? 'gone')}\n`);
      return;
    }
    if (found.missing.join() !== said) tellMissing(world, [found]);
    said = found.missing.join();
    await sleep(world.clock, WAIT_STEP_MS, world.signal);
    if (world.signal.aborted) return;
  }
}

function tellMissing(world: World, items: readonly AuthorityObject[]): void {
  for (const { id, missing } of items) {
    if (missing.length === 0) continue;
    const more = missing.length > MAX_NAMED ? `, and ${missing.length - MAX_NAMED} more` : '';
    const names = missing.slice(0, MAX_NAMED).map(safe).join(', ');
    world.stderr(`authority/${safe(id)} waits until these have the bundle with it: ${names}${more}\n`);
  }
}
