import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { isMissing, reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import { openSession } from '../options.ts';
import type { World } from '../world.ts';

/** What the server takes. */
const MAX_BYTES = 8 * 1024 * 1024;

interface Answer {
  readonly created: readonly { readonly id: string; readonly spiffeId: string }[];
  readonly unchanged: readonly { readonly id: string; readonly spiffeId: string }[];
}

/** `writ entry import -f FILE` */
export function addEntryImport(entry: Command, world: World): void {
  addDryRun(entry.command('import'))
    .summary('Take entries over from SPIRE.')
    .description(
      'Create the entries of a file that `spire-server entry create -data` takes or `spire-server entry show -output json` ' +
        'prints: all of them, or none. What is there already, exactly like this, is left as it is.',
    )
    .requiredOption('-f, --filename <path>', 'file, or - for standard input')
    .action(async (options: { readonly filename: string; readonly dryRun?: boolean }, command: Command) => {
      const json = parse(await read(options.filename, world), options.filename);
      const { client } = await openSession(command, world);
      const { body } = await client.call<Answer>({
        method: 'POST',
        path: '/v1/entries:import',
        ...dryRun(options),
        json,
      });
      tellWarnings(world, options.filename, body);
      const dry = options.dryRun === true ? ' (dry run)' : '';
      world.stdout(`${count(body.created.length)} created, ${body.unchanged.length} unchanged${dry}\n`);
    });
}

async function read(name: string, world: World): Promise<string> {
  if (name === '-') return await world.readStdin();
  const path = resolve(world.cwd, name);
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new AppError('usage', `${name} is no file.`);
    if (found.size > MAX_BYTES) throw new AppError('too-large', `${name} is larger than ${MAX_BYTES} bytes.`);
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    const why = isMissing(cause) ? 'there is no such file' : reason(cause);
    throw new AppError('usage', `Cannot read ${name}: ${why}.`, { cause });
  }
}

function parse(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError('invalid', `${name === '-' ? 'Standard input' : name} is not JSON.`, { cause });
  }
}

function count(n: number): string {
  return `${n} ${n === 1 ? 'entry' : 'entries'}`;
}
