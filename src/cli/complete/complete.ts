import type { Command, Option } from 'commander';
import type { World } from '../world.ts';
import { namesAt } from './names.ts';
import type { Place } from './place.ts';
import { argumentAt, optionsAt, placeOf, subcommandsAt } from './place.ts';

/** Hidden: what the completion scripts of the shells call, as `writ __complete -- WORD…`, the last word being unfinished. */
export const COMPLETE = '__complete';

/** What may stand at the cursor: words, each with a description or '', or the name of a file. */
type Answer = 'files' | readonly Candidate[];
type Candidate = readonly [word: string, description: string];

/** Values that are files, by what an argument or option calls its value. */
const fileValues = ['path', 'file'];

/**
 * Answers a completion script: first a line `words` or `files`, then a line for each word: the word, and after a tab its
 * description. Everything is read off the tree of commands, so that a new command needs nothing here. Never fails and
 * says nothing else, whatever is wrong: the user is in the middle of a line.
 */
export async function complete(program: Command, words: readonly string[], world: World): Promise<void> {
  const place = placeOf(program, words);
  const answer = await answerAt(place, program, world).catch((): Answer => []);
  if (answer === 'files') return world.stdout('files\n');
  const lines = new Set(
    answer
      .filter(([word]) => word.startsWith(place.current))
      .map(([word, description]) => `${place.prefix}${word}${description === '' ? '' : `\t${oneLine(description)}`}\n`),
  );
  world.stdout(`words\n${[...lines].join('')}`);
}

async function answerAt(place: Place, program: Command, world: World): Promise<Answer> {
  const { command, operands, option, current, optionsEnded } = place;
  if (option !== undefined) return values(option.argChoices, valueName(option), place, world);
  if (current.startsWith('-') && !optionsEnded) return optionCandidates(command);
  const argument = argumentAt(command, operands.length);
  if (argument?.name() === 'command' && operands.length === 0) return commandCandidates(program);
  if (argument !== undefined) return values(argument.argChoices, argument.name(), place, world);
  // A command that has commands takes nothing else; where nothing at all can stand, an option can.
  const commands = optionsEnded ? [] : commandCandidates(command);
  if (commands.length > 0) return operands.length === 0 ? commands : [];
  return optionsEnded ? [] : optionCandidates(command);
}

async function values(
  choices: readonly string[] | undefined,
  name: string,
  place: Place,
  world: World,
): Promise<Answer> {
  // Settings with a closed list of values name all of them: `<json|text>`.
  const known = choices ?? (name.includes('|') ? name.split('|') : undefined);
  if (known !== undefined) return known.map((word) => [word, '']);
  if (fileValues.includes(name)) return 'files';
  return (await namesAt(place, name, world)).filter(isHarmless).map((word) => [word, '']);
}

function commandCandidates(command: Command): readonly Candidate[] {
  return subcommandsAt(command).map((one) => [one.name(), one.summary() || one.description()]);
}

function optionCandidates(command: Command): readonly Candidate[] {
  return optionsAt(command).map((option) => [option.long ?? option.short ?? '', option.description]);
}

function valueName(option: Option): string {
  return /<(.+)>/.exec(option.flags)?.[1] ?? '';
}

/** Longest name that is offered, in characters. */
const MAX_NAME = 512;

/**
 * Names come from the server, and go into a line that the user is about to run. The scripts quote them for their shell;
 * left out is what cannot be shown as it is (controls, marks that turn the direction of text), and what would be read
 * as an option.
 */
function isHarmless(name: string): boolean {
  return name !== '' && name.length <= MAX_NAME && !name.startsWith('-') && !/[\p{C}\p{Zl}\p{Zp}]/u.test(name);
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ');
}
