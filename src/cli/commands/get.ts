import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { AnyKind, Limits } from '../kinds.ts';
import { findOne, kindArgument, kindNames, listAll, parseKind } from '../kinds.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList, printOne } from '../output.ts';
import type { World } from '../world.ts';

export function addGet(program: Command, world: World): void {
  limits(program.command('get'))
    .summary('Show objects.')
    .description(`Show objects. KIND is one of ${kindNames.join(', ')}.`)
    .addArgument(kindArgument(kindNames))
    .argument('[reference]', 'NAMESPACE/NAME or id of one object')
    .addOption(output(...formats))
    .action(async (kindName: string, reference: string | undefined, options: GetOptions, command: Command) => {
      const kind = parseKind(kindName);
      if (reference !== undefined) refuseLimits(options);
      const { client } = await openSession(command, world);
      if (reference !== undefined) printOne(world, options.output, kind.view, await findOne(client, kind, reference));
      else
        printList(world, options.output, kind.view, await inNamespace(kind, listAll(client, kind, options), options));
    });
}

interface GetOptions extends Limits {
  readonly output: Format;
}

/** The options of every command that lists. */
export function limits(command: Command): Command {
  return command
    .option('-n, --namespace <namespace>', 'only those of this namespace')
    .option('-l, --selector <labels>', 'only those with these labels, such as app=web,tier!=test');
}

/** One that is named is shown whatever its namespace and labels are: who gives both expects something else. */
function refuseLimits({ namespace, selector }: Limits): void {
  if (namespace === undefined && selector === undefined) return;
  throw new AppError(
    'usage',
    '-n and -l choose among all objects, and one is named already. Leave them out, or leave the name out.',
  );
}

/** Where the server cannot limit the list to a namespace, the names of the objects do. */
async function inNamespace(
  kind: AnyKind,
  items: Promise<readonly unknown[]>,
  { namespace }: Limits,
): Promise<readonly unknown[]> {
  if (namespace === undefined || kind.namespaced) return items;
  return (await items).filter((item) => JSON.stringify(item).includes(`/ns/${namespace}/`));
}
