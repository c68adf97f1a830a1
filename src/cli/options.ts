import type { Command } from 'commander';
import { Option } from 'commander';
import { AppError } from '../base/errors.ts';
import { didYouMean } from '../base/suggest.ts';
import { Client } from './client.ts';
import { findContext, targetOf } from './context.ts';
import type { Format } from './output.ts';
import type { Style } from './style.ts';
import { colourChoices, styleFor } from './style.ts';
import type { World } from './world.ts';

export interface GlobalOptions {
  readonly addr?: string;
  readonly tokenFile?: string;
  readonly allowPlaintext?: boolean;
  readonly color: (typeof colourChoices)[number];
  readonly curl?: boolean;
}

/** The options that every command understands, wherever they stand on the line. */
export function addGlobalOptions(program: Command): Command {
  return program
    .addOption(choice('--color <when>', 'colour the output', colourChoices).default('auto'))
    .addOption(new Option('--addr <url>', 'control plane to speak to (WRIT_ADDR)'))
    .addOption(new Option('--token-file <path>', 'file (0600) with the admin token (WRIT_TOKEN_FILE)'))
    .addOption(new Option('--allow-plaintext', 'allow plain HTTP to another machine'))
    .addOption(new Option('--curl', 'print the equivalent curl command instead of calling'));
}

/** An option with a closed list of values: they are completed, listed by --help, and told to who gives another. */
export function choice(flags: string, description: string, values: readonly string[]): Option {
  const option = new Option(flags, description);
  option.argChoices = [...values];
  return option.argParser((given: string) => {
    if (values.includes(given)) return given;
    const known = `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
    const name = option.short ?? option.long;
    throw new AppError('usage', `${name} must be ${known}, not ${JSON.stringify(given)}.${didYouMean(given, values)}`);
  });
}

/** `-o`, with the formats that a command writes; the first of them is the default. */
export function output(first: Format, ...others: readonly Format[]): Option {
  return choice('-o, --output <format>', 'how it is written', [first, ...others]).default(first);
}

/** Nothing is called by this command, so there is no call to show. Throws `usage` where --curl was given all the same. */
export function refuseCurl(command: Command, name: string): void {
  if (!wantsCurl(command)) return;
  throw new AppError(
    'usage',
    `--curl shows calls to the control plane, and \`writ ${name}\` is not one. Leave --curl out.`,
  );
}

/** What a command that calls the control plane works with. */
export interface Session {
  readonly world: World;
  readonly client: Client;
  readonly style: Style;
}

export async function openSession(command: Command, world: World): Promise<Session> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const found = await findContext(options, world);
  const target = await targetOf(found, options.allowPlaintext === true);
  const showCurl = options.curl === true ? (line: string) => world.stdout(`${line}\n`) : undefined;
  const client = new Client(target, { fetch: world.fetch, ...(showCurl !== undefined && { showCurl }) });
  return { world, client, style: styleFor(options.color, world) };
}

/** `--curl` was given: the command should show its changing call rather than the reads before it. */
export function wantsCurl(command: Command): boolean {
  return command.optsWithGlobals<GlobalOptions>().curl === true;
}
