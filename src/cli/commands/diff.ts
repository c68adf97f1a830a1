import type { Command } from 'commander';
import type { PolicyObject } from '../api.ts';
import { openSession } from '../options.ts';
import { collect, FILENAME, isSame, pathOf, readPolicyFiles } from '../policy-files.ts';
import type { PruneOptions } from '../prune.ts';
import { addPrune, checkPrune, findSuperfluous } from '../prune.ts';
import { aboveOne, difference } from '../show-diff.ts';
import type { World } from '../world.ts';

interface DiffOptions extends PruneOptions {
  readonly filename: string[];
}

/** @param differs called when there is a difference: the command did its work, and its exit status says so. */
export function addDiff(program: Command, world: World, differs: () => void): void {
  addPrune(program.command('diff'))
    .summary('Compare policies in files with those that are in force.')
    .description(
      'Compare policies in files with those that are in force, as a unified diff: what apply would change. Exit status 0: ' +
        'no difference, 1: differences, 2 or more: the comparison failed.',
    )
    .requiredOption(FILENAME, 'file, directory or -; repeatable', collect)
    .action((options: DiffOptions, command: Command) => aboveOne(diff(options, command, world, differs)));
}

async function diff(options: DiffOptions, command: Command, world: World, differs: () => void): Promise<void> {
  const documents = await readPolicyFiles(options.filename, world, 'compared');
  checkPrune(options, documents);
  const { client, style } = await openSession(command, world);
  const write = (text: string) => {
    if (text === '') return;
    differs();
    world.stdout(text);
  };
  for (const document of documents) {
    const there = (await client.find<PolicyObject>({ method: 'GET', path: pathOf(document) }))?.body;
    if (there !== undefined && isSame(document, there.source)) continue;
    const from = { name: there === undefined ? '' : nameOf(there), text: there?.source };
    write(difference(from, { name: document.file, text: document.source }, world, style));
  }
  for (const object of await findSuperfluous(client, options, documents)) {
    write(difference({ name: nameOf(object), text: object.source }, { name: '', text: undefined }, world, style));
  }
}

function nameOf({ metadata }: PolicyObject): string {
  return `${metadata.namespace}/${metadata.name}@${metadata.revision}`;
}
