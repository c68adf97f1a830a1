import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { Argument } from 'commander';
import { AppError } from '../../base/errors.ts';
import { didYouMean } from '../../base/suggest.ts';
import { refuseCurl } from '../options.ts';
import type { World } from '../world.ts';

/** Each has a script `complete/writ.<shell>`, which only asks `writ __complete`: no knowledge of commands is in it. */
export const shells = ['bash', 'zsh', 'fish'] as const;

export function addCompletion(program: Command, world: World): void {
  const argument = new Argument('<shell>');
  argument.argChoices = [...shells];
  program
    .command('completion')
    .summary('Print the script that completes writ in a shell.')
    .description(
      'Print the script that completes writ in a shell: commands, options, their values, and the names of what the control plane has. ' +
        'For bash, once: source <(writ completion bash)',
    )
    .addArgument(argument)
    .action(async (name: string, _options: unknown, command: Command) => {
      refuseCurl(command, 'completion');
      const shell = shells.find((each) => each === name);
      if (shell === undefined) {
        throw new AppError(
          'usage',
          `There is no completion for ${JSON.stringify(name)}, only for ${shells.join(', ')}.${didYouMean(name, shells)}`,
        );
      }
      world.stdout(await readFile(new URL(`../complete/writ.${shell}`, import.meta.url), 'utf8'));
    });
}
