import type { Argument, Command, Option } from 'commander';

/** Where the cursor stands in a command line: what was said before it, and what may stand there. */
export interface Place {
  readonly command: Command;
  /** Arguments of the command that stand before the cursor. */
  readonly operands: readonly string[];
  /** Values of the options that stand before it, by the names that commander gives them. */
  readonly given: ReadonlyMap<string, string>;
  /** The option whose value is to be completed. */
  readonly option: Option | undefined;
  /** Whether a `--` has ended the options. */
  readonly optionsEnded: boolean;
  /** What is to be completed. */
  readonly current: string;
  /** What stands before it in the same word and stays there: `--color=`. */
  readonly prefix: string;
}

/** Reads a command line up to the cursor as commander will, but forgives everything: it is not finished. */
export function placeOf(program: Command, words: readonly string[]): Place {
  let command = program;
  let waiting: Option | undefined;
  let optionsEnded = false;
  const operands: string[] = [];
  const given = new Map<string, string>();
  for (const word of words.slice(0, -1)) {
    if (waiting !== undefined) {
      given.set(waiting.attributeName(), word);
      waiting = undefined;
    } else if (optionsEnded || !isOption(word)) {
      const next = operands.length === 0 && !optionsEnded ? subcommand(command, word) : undefined;
      if (next === undefined) operands.push(word);
      else command = next;
    } else if (word === '--') {
      optionsEnded = true;
    } else {
      const { option, value } = readOption(command, word);
      if (option === undefined) continue;
      if (value !== undefined || !option.required) given.set(option.attributeName(), value ?? '');
      else waiting = option;
    }
  }
  const last = words.at(-1) ?? '';
  const place = { command, operands, given, optionsEnded };
  if (waiting !== undefined) return { ...place, option: waiting, current: last, prefix: '' };
  const { option, value } = optionsEnded || !isOption(last) ? {} : readOption(command, last);
  if (option === undefined || value === undefined) return { ...place, option: undefined, current: last, prefix: '' };
  return { ...place, option, current: value, prefix: last.slice(0, last.length - value.length) };
}

/** Every option that is understood there and not hidden; those of the commands above follow. */
export function optionsAt(command: Command): readonly Option[] {
  const above = ancestors(command).flatMap((one) => one.options.filter((option) => !option.hidden));
  return [...command.createHelp().visibleOptions(command), ...above];
}

export function subcommandsAt(command: Command): readonly Command[] {
  return command.createHelp().visibleCommands(command);
}

/** The argument that comes after so many others. */
export function argumentAt(command: Command, index: number): Argument | undefined {
  const last = command.registeredArguments.at(-1);
  return command.registeredArguments[index] ?? (last?.variadic === true ? last : undefined);
}

function isOption(word: string): boolean {
  return word.length > 1 && word.startsWith('-');
}

/** `--color`, `--color=never`, `-o`, `-ojson`. */
function readOption(command: Command, word: string): { option?: Option; value?: string } {
  const options = [command, ...ancestors(command)].flatMap((one) => one.options);
  if (word.startsWith('--')) {
    const equals = word.indexOf('=');
    const long = equals < 0 ? word : word.slice(0, equals);
    const option = options.find((one) => one.long === long);
    if (option === undefined) return {};
    return equals < 0 || !option.required ? { option } : { option, value: word.slice(equals + 1) };
  }
  const option = options.find((one) => one.short === word.slice(0, 2));
  if (option === undefined) return {};
  return word.length === 2 || !option.required ? { option } : { option, value: word.slice(2) };
}

function subcommand(command: Command, word: string): Command | undefined {
  return subcommandsAt(command).find((one) => one.name() === word || one.aliases().includes(word));
}

function ancestors(command: Command): readonly Command[] {
  return command.parent === null ? [] : [command.parent, ...ancestors(command.parent)];
}
