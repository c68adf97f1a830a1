import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import type { Kind } from '../kinds.ts';
import { deletableKinds, findOne, kindArgument, parseKind } from '../kinds.ts';
import { openSession, wantsCurl } from '../options.ts';
import { addReason, reasonQuery } from '../reason.ts';
import type { World } from '../world.ts';

export interface DeleteOptions {
  readonly yes?: boolean;
  readonly dryRun?: boolean;
  readonly reason?: string;
}

/** @param failed called when the user kept what was to be deleted. */
export function addDelete(program: Command, world: World, failed: () => void): void {
  addReason(addYes(addDryRun(program.command('delete'))))
    .summary('Delete one object.')
    .description(
      'Delete one policy, object of another kind, entry, join token, federation or token. Asks first; --yes answers for scripts.',
    )
    .addArgument(kindArgument(deletableKinds))
    .argument('<reference>', 'NAMESPACE/NAME or id')
    .action((kindName: string, reference: string, options: DeleteOptions, command: Command) =>
      deleteOne(parseKind(kindName), reference, { options, command, world, failed }),
    );
}

/** The option of every command that asks first. */
export function addYes(command: Command): Command {
  return command.option('-y, --yes', 'do not ask');
}

export async function deleteOne<T>(
  kind: Kind<T>,
  reference: string,
  given: {
    readonly options: DeleteOptions;
    readonly command: Command;
    readonly world: World;
    readonly failed: () => void;
  },
): Promise<void> {
  const { options, command, world, failed } = given;
  if (kind.deletePath === undefined) {
    throw new AppError('usage', `A ${kind.singular} cannot be deleted: it leaves the list by itself when it is gone.`);
  }
  if (options.reason !== undefined && kind.reasons !== true) {
    throw new AppError('usage', `A ${kind.singular} has no history that would keep the reason. Leave --reason out.`);
  }
  const sure = options.yes === true || options.dryRun === true || wantsCurl(command);
  if (!sure && !world.interactive) {
    throw new AppError('usage', 'Deleting needs a confirmation, and there is no terminal to ask on. Add --yes.');
  }
  const { client } = await openSession(command, world);
  // What is deleted is what was looked at: the revision read here goes into If-Match.
  const item = await findOne(client.reader, kind, reference);
  const name = kind.view.name(item);
  if (!sure && !(await confirm(world, name))) {
    world.stderr(`Not confirmed: ${name} was kept.\n`);
    failed();
    return;
  }
  const revision = kind.revision?.(item);
  const { body } = await client.call<unknown>({
    method: 'DELETE',
    path: kind.deletePath(item),
    query: { ...dryRun(options).query, ...reasonQuery(options) },
    ...(revision !== undefined && { headers: { 'if-match': `"${revision}"` } }),
  });
  if (options.dryRun === true) tellWarnings(world, name, body);
  world.stdout(`${name} deleted${options.dryRun === true ? ' (dry run)' : ''}\n`);
}

async function confirm(world: World, name: string): Promise<boolean> {
  const answer = await world.ask(`Delete ${name}? [y/N] `);
  return /^y(es)?$/i.test(answer.trim());
}
