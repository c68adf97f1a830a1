import type { Command } from 'commander';
import type { AnyKind } from '../kinds.ts';
import { findOne, kindNames, listAll, parseKind } from '../kinds.ts';
import { openSession } from '../options.ts';
import { parseFormat, printList, printOne } from '../output.ts';
import type { World } from '../world.ts';

export function addGet(program: Command, world: World): void {
  program
    .command('get')
    .summary('Show objects.')
    .description(`Show objects. KIND is one of ${kindNames.join(', ')}.`)
    .argument('<kind>')
    .argument('[reference]', 'NAMESPACE/NAME or id of one object')
    .option('-o, --output <format>', 'table, wide, json, yaml or name', 'table')
    .option('-n, --namespace <name>', 'only those of this namespace')
    .action(async (kindName: string, reference: string | undefined, options: GetOptions, command: Command) => {
      const kind = parseKind(kindName);
      const format = parseFormat(options.output);
      const { client } = await openSession(command, world);
      if (reference !== undefined) printOne(world, format, kind.view, await findOne(client, kind, reference));
      else
        printList(world, format, kind.view, await inNamespace(kind, listAll(client, kind, options.namespace), options));
    });
}

interface GetOptions {
  readonly output: string;
  readonly namespace?: string;
}

/** Where the server cannot limit the list to a namespace, the names of the objects do. */
async function inNamespace(
  kind: AnyKind,
  items: Promise<readonly unknown[]>,
  { namespace }: GetOptions,
): Promise<readonly unknown[]> {
  if (namespace === undefined || kind.namespaced) return items;
  return (await items).filter((item) => JSON.stringify(item).includes(`/ns/${namespace}/`));
}
