import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { FederationObject } from '../api.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import { readFederationFile } from '../federation-file.ts';
import { findOne, kinds, listAll } from '../kinds.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList, printOne } from '../output.ts';
import type { World } from '../world.ts';
import type { DeleteOptions } from './delete.ts';
import { addYes, deleteOne } from './delete.ts';

const kind = kinds.federation;

/** @param failed called when the user kept what was to be deleted. */
export function addFederation(program: Command, world: World, failed: () => void): void {
  const federation = program
    .command('federation')
    .description('Federation: other trust domains whose identities are verified here, each with its own bundle.');
  federation
    .command('list')
    .description('List the trust domains, and how their bundles are.')
    .addOption(output(...formats))
    .action(async (options: { readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      printList(world, options.output, kind.view, await listAll(client, kind, {}));
    });
  federation
    .command('show')
    .description('Everything about the federation with one trust domain.')
    .argument('<trust-domain>', kind.reference)
    .addOption(output('yaml', 'table', 'wide', 'json', 'name'))
    .action(async (name: string, options: { readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      printOne(world, options.output, kind.view, await findOne(client, kind, name));
    });
  addSet(federation, world);
  addYes(addDryRun(federation.command('delete')))
    .description('End a federation: its identities are refused from then on. Asks first.')
    .argument('<trust-domain>', kind.reference)
    .action((name: string, options: DeleteOptions, command: Command) =>
      deleteOne(kind, name, { options, command, world, failed }),
    );
  addDryRun(federation.command('refresh'))
    .description('Ask for the bundle now, instead of at the next interval.')
    .argument('<trust-domain>', kind.reference)
    .addOption(output(...formats))
    .action(async (name: string, options: { readonly output: Format; readonly dryRun?: boolean }, command: Command) => {
      const { client } = await openSession(command, world);
      const path = `${pathOf(name)}:refresh`;
      const { body } = await client.call<FederationObject>({ method: 'POST', path, ...dryRun(options) });
      printOne(world, options.output, kind.view, body);
      if (options.dryRun !== true) return;
      tellWarnings(world, name, body);
      world.stderr('Dry run: nothing was changed.\n');
    });
}

function addSet(federation: Command, world: World): void {
  addDryRun(federation.command('set'))
    .description('Federate with a trust domain, or change how: what the file says replaces what there was.')
    .requiredOption(
      '-f, --file <file>',
      'YAML or JSON: trustDomain, bundleEndpoint {url, profile, spiffeId, caFile}, bundleFile, services; - for standard input',
    )
    .addOption(output(...formats))
    .action(
      async (
        options: { readonly file: string; readonly output: Format; readonly dryRun?: boolean },
        command: Command,
      ) => {
        const isStdin = options.file === '-';
        const text = await (isStdin ? world.readStdin() : readText(resolve(world.cwd, options.file)));
        const beside = isStdin ? world.cwd : dirname(resolve(world.cwd, options.file));
        const read = (file: string) => readText(resolve(beside, file));
        const { trustDomain, body: json } = await readFederationFile(text, read);
        const { client } = await openSession(command, world);
        const before = await client.reader.find<FederationObject>({ method: 'GET', path: pathOf(trustDomain) });
        const { body } = await client.call<FederationObject>({
          method: 'PUT',
          path: pathOf(trustDomain),
          ...dryRun(options),
          headers: before === undefined ? { 'if-none-match': '*' } : { 'if-match': `"${before.body.revision}"` },
          json,
        });
        printOne(world, options.output, kind.view, body);
        if (options.dryRun !== true) return;
        tellWarnings(world, trustDomain, body);
        world.stderr('Dry run: nothing was changed.\n');
      },
    );
}

function pathOf(trustDomain: string): string {
  const path = kind.pathOf?.(trustDomain);
  if (path === undefined) throw new AppError('usage', `${JSON.stringify(trustDomain)} is no name of a trust domain.`);
  return path;
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new AppError('usage', `Cannot read ${path}: ${reason(cause)}.`, { cause });
  }
}
