import { Command, CommanderError } from 'commander';
import type { Schema } from '../base/config.ts';
import { configReference } from '../base/config.ts';
import { toAppError } from '../base/errors.ts';
import { exitCode } from '../wire/errors.ts';
import { CurlShown } from './client.ts';
import { COMPLETE, complete } from './complete/complete.ts';
import { addGlobalOptions, refuseCurl } from './options.ts';
import { ERRORS_PAGE, reportError } from './report.ts';
import { colourChoices, styleFor } from './style.ts';
import type { World } from './world.ts';

/** A command that runs a part of Writ; what it does comes from outside this room. */
export interface ServiceCommand {
  readonly name: string;
  readonly summary: string;
  /** Its settings, each of which becomes a flag. */
  readonly schema: Schema;
  /** An error of it is one line, without the reference to the page of its code. */
  readonly oneLineErrors?: boolean;
  /** Flags that are no settings, such as `--ephemeral`. */
  readonly flags?: readonly { readonly usage: string; readonly description: string; readonly hidden?: boolean }[];
  run(flags: Readonly<Record<string, string | boolean | readonly string[] | undefined>>): Promise<void>;
}

/** Runs one command line, without `node` and the script. Never throws; the result is the exit status. */
export async function runCli(
  argv: readonly string[],
  world: World,
  services: readonly ServiceCommand[],
): Promise<number> {
  let status = 0;
  let oneLine = false;
  const program = await buildProgram(argv, world, services, {
    failed: (code = 1) => {
      status = code;
    },
    runs: (service) => {
      oneLine = service.oneLineErrors === true;
    },
  });
  if (argv[0] === COMPLETE) {
    await complete(program, argv.slice(argv[1] === '--' ? 2 : 1), world);
    return 0;
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return status;
  } catch (error) {
    // --curl showed the call instead of making it; Ctrl-C is how a follower ends.
    if (error instanceof CurlShown) return 0;
    if (world.signal.aborted) return 130;
    // commander has told already what is wrong; with status 0 it was asked for help.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCode('usage');
    const known = toAppError(error);
    world.stderr(reportError(known, stderrStyle(argv, world), { oneLine }));
    if (known.code === 'internal')
      world.stderr(`${known.cause instanceof Error ? known.cause.stack : String(known.cause)}\n`);
    return exitCode(known.code);
  }
}

async function buildProgram(
  argv: readonly string[],
  world: World,
  services: readonly ServiceCommand[],
  tell: { readonly failed: (code?: number) => void; readonly runs: (service: ServiceCommand) => void },
): Promise<Command> {
  const program = new Command('writ')
    .description('A zero-trust service-mesh control plane.')
    .version(`writ    ${world.version}`, '--version', 'print the version of this program')
    .exitOverride()
    .configureOutput({ writeOut: (text) => world.stdout(text), writeErr: (text) => world.stderr(text) })
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError(`  Add --help for how it is used.\n  more: ${ERRORS_PAGE}#usage`);
  addGlobalOptions(program);
  for (const service of services) addService(program, service, tell.runs);
  // A server or sidecar starts faster, and holds less, without what only people use.
  if (!services.some((service) => service.name === argv[0])) {
    const { addCommands } = await import('./commands/all.ts');
    addCommands(program, world, tell.failed);
  }
  return program;
}

/** Every setting becomes a flag; they are checked by the schema, not by commander, so that all problems come at once. */
function addService(program: Command, service: ServiceCommand, runs: (service: ServiceCommand) => void): void {
  const command = program.command(service.name).description(service.summary);
  // Forms and meanings of settings are too long for two columns.
  command.configureHelp({
    showGlobalOptions: false,
    formatItem: (term, _width, description, helper) => `  ${term}\n${indent(helper.boxWrap(description, 90))}`,
  });
  for (const row of configReference(service.schema)) {
    const option = command.createOption(row.usage, row.description);
    // The name of the setting stays the name of the flag: no camel case, no special meaning of "no-".
    option.attributeName = () => row.flag.slice(2);
    option.negate = false;
    if (row.repeatable) option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
    command.addOption(option);
  }
  for (const flag of service.flags ?? []) {
    const option = command.createOption(flag.usage, flag.description);
    const name = (option.long ?? '').slice(2);
    option.attributeName = () => name;
    option.negate = false;
    if (flag.hidden === true) option.hideHelp();
    command.addOption(option);
  }
  if (Object.keys(service.schema).length > 0) {
    command.option('--config <path>', 'YAML file with these settings (WRIT_CONFIG)');
    command.addHelpText('after', sourcesHelp(service.schema));
  }
  command.action(async () => {
    runs(service);
    refuseCurl(command, service.name);
    await service.run(command.opts());
  });
}

function sourcesHelp(schema: Schema): string {
  const example = configReference(schema).find((row) => row.name.includes('.')) ?? configReference(schema)[0];
  return `
Each setting can also be given as a variable (${example?.flag}: ${example?.variable}) or in the file, where dots
nest (${example?.name}). A flag wins over a variable, a variable over the file. Unknown keys are errors.`;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '      ');
}

/** Errors are coloured by what standard error is, which the world does not tell apart from standard output: only by wish. */
function stderrStyle(argv: readonly string[], world: World) {
  const at = argv.findIndex((word) => word === '--color' || word.startsWith('--color='));
  const wish = at < 0 ? 'auto' : (argv[at]?.split('=')[1] ?? argv[at + 1] ?? 'auto');
  return styleFor(colourChoices.find((choice) => choice === wish) ?? 'auto', {
    ...world,
    stdoutIsTerminal: world.interactive,
  });
}
