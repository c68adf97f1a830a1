import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { EntryObject } from '../api.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import type { EntryFields, EntryOptions } from '../entry-options.ts';
import { addClear, addEntryOptions, clearedFields, readEntryOptions, toParentId } from '../entry-options.ts';
import { toSpiffeId } from '../info.ts';
import type { Limits } from '../kinds.ts';
import { findOne, kinds, listAll } from '../kinds.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList, printOne } from '../output.ts';
import type { World } from '../world.ts';
import type { DeleteOptions } from './delete.ts';
import { addYes, deleteOne } from './delete.ts';
import { addEntryImport } from './entry-import.ts';
import { limits } from './get.ts';

interface Written {
  readonly dryRun?: boolean;
  readonly output: Format;
}

/** @param failed called when the user kept what was to be deleted. */
export function addEntry(program: Command, world: World, failed: () => void): void {
  const entry = program.command('entry').description('Entries: which workload may have which identity.');
  addCreate(entry, world);
  addShow(entry, world);
  addList(entry, world);
  addUpdate(entry, world);
  addYes(addDryRun(entry.command('delete')))
    .description('The same as: writ delete entry')
    .argument('<entry>', 'id, SPIFFE ID or NAMESPACE/SERVICE')
    .action((reference: string, options: DeleteOptions, command: Command) =>
      deleteOne(kinds.entry, reference, { options, command, world, failed }),
    );
  addEntryImport(entry, world);
}

function addCreate(entry: Command, world: World): void {
  addEntryOptions(addDryRun(entry.command('create')))
    .description('Register an identity. Its workload gets it from the agent of its parent, or with a join token.')
    .argument(
      '<workload>',
      'NAMESPACE/SERVICE, SPIFFE ID, or a template such as spiffe://…/ns/{{k8s.ns}}/sa/{{k8s.sa}}',
    )
    .addOption(output(...formats))
    .action(async (workload: string, options: EntryOptions & Written, command: Command) => {
      const { client } = await openSession(command, world);
      const fields = await readEntryOptions(options, client, world);
      const spiffeId = await toSpiffeId(client, workload);
      const json = { spiffeId, ...fields };
      const { body } = await client.call<EntryObject>({
        method: 'POST',
        path: kinds.entry.path,
        ...dryRun(options),
        json,
      });
      printWritten(world, options, spiffeId, body);
    });
}

function addShow(entry: Command, world: World): void {
  entry
    .command('show')
    .description('Everything about an entry.')
    .argument('<entry>', 'id, SPIFFE ID or NAMESPACE/SERVICE')
    .addOption(output('yaml', 'table', 'wide', 'json', 'name'))
    .action(async (reference: string, options: { readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      printOne(world, options.output, kinds.entry.view, await findOne(client, kinds.entry, reference));
    });
}

function addList(entry: Command, world: World): void {
  limits(entry.command('list'))
    .description('As writ get entries, and by parent and by what is asked for.')
    .option('--parent <id>', 'only those below it: SPIFFE ID, path, or control-plane')
    .option('--asks-for <selector>', 'only those that ask for this selector')
    .addOption(output(...formats))
    .action(
      async (
        options: Limits & { readonly output: Format; readonly parent?: string; readonly asksFor?: string },
        command: Command,
      ) => {
        const { client } = await openSession(command, world);
        const more = {
          ...(options.parent !== undefined && { parentId: await toParentId(options.parent, client) }),
          ...(options.asksFor !== undefined && { selector: options.asksFor }),
        };
        printList(
          world,
          options.output,
          kinds.entry.view,
          await listAll(client, kinds.entry, { namespace: options.namespace, selector: options.selector, more }),
        );
      },
    );
}

function addUpdate(entry: Command, world: World): void {
  addClear(addEntryOptions(addDryRun(entry.command('update'))))
    .description(
      'Change an entry: what is given replaces what there was, lists as a whole; the rest stays. ' +
        'Labels change for all entries of its SPIFFE ID.',
    )
    .argument('<entry>', 'id, SPIFFE ID or NAMESPACE/SERVICE')
    .addOption(output(...formats))
    .action(
      async (
        reference: string,
        options: EntryOptions & Written & { readonly clear?: readonly string[] },
        command: Command,
      ) => {
        const { client } = await openSession(command, world);
        const change = {
          ...clearedFields(options.clear ?? []),
          ...(await readEntryOptions(options, client, world)),
        };
        if (Object.keys(change).length === 0) {
          throw new AppError('usage', 'Nothing is to be changed: give what is to be different, or --clear.');
        }
        // What is replaced is what was looked at: the revision read here goes into If-Match.
        const before = await findOne(client.reader, kinds.entry, reference);
        const { body } = await client.call<EntryObject>({
          method: 'PUT',
          path: `${kinds.entry.path}/${encodeURIComponent(before.id)}`,
          ...dryRun(options),
          headers: { 'if-match': `"${before.revision}"` },
          json: { ...writable(before), ...change },
        });
        printWritten(world, options, before.spiffeId, body);
      },
    );
}

/** What of an object of the server can be sent back. Fields that this version does not know are lost: they have no option. */
function writable(entry: EntryObject): EntryFields & { readonly spiffeId: string } {
  return {
    spiffeId: entry.spiffeId,
    parentId: entry.parentId,
    selectors: entry.selectors,
    namespaces: entry.namespaces,
    labels: entry.labels,
    x509TtlSeconds: entry.x509TtlSeconds,
    jwtTtlSeconds: entry.jwtTtlSeconds,
    dnsNames: entry.dnsNames,
    federatesWith: entry.federatesWith,
    hint: entry.hint,
    expiresAt: entry.expiresAt,
    jwtClaims: entry.jwtClaims,
  };
}

function printWritten(world: World, options: Written, name: string, body: EntryObject): void {
  printOne(world, options.output, kinds.entry.view, body);
  if (options.dryRun !== true) return;
  tellWarnings(world, name, body);
  world.stderr('Dry run: nothing was changed.\n');
}
