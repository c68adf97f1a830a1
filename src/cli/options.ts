import type { Command } from 'commander';
import { Option } from 'commander';
import { Client } from './client.ts';
import { findContext, targetOf } from './context.ts';
import type { Style } from './style.ts';
import { styleFor } from './style.ts';
import type { World } from './world.ts';

export interface GlobalOptions {
  readonly addr?: string;
  readonly tokenFile?: string;
  readonly allowPlaintext?: boolean;
  readonly color: string;
  readonly curl?: boolean;
}

/** The options that every command understands, wherever they stand on the line. */
export function addGlobalOptions(program: Command): Command {
  return program
    .addOption(new Option('--color <when>', 'colour the output: auto, always, never').default('auto'))
    .addOption(new Option('--addr <url>', 'control plane to speak to (WRIT_ADDR)'))
    .addOption(new Option('--token-file <path>', 'file (0600) with the admin token (WRIT_TOKEN_FILE)'))
    .addOption(new Option('--allow-plaintext', 'allow plain HTTP to another machine'))
    .addOption(new Option('--curl', 'print the equivalent curl command instead of calling'));
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
