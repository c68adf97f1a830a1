import type { Command } from 'commander';
import { parseDuration } from '../../base/config-types.ts';
import { AppError } from '../../base/errors.ts';
import type { EntryObject } from '../api.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import { toSpiffeId } from '../info.ts';
import type { Limits } from '../kinds.ts';
import { kinds, listAll } from '../kinds.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList, printOne } from '../output.ts';
import type { World } from '../world.ts';
import { limits } from './get.ts';

interface CreateOptions {
  readonly label: readonly string[];
  readonly selector: readonly string[];
  readonly x509Ttl?: string;
  readonly jwtTtl?: string;
  readonly dryRun?: boolean;
  readonly output: Format;
}

export function addEntry(program: Command, world: World): void {
  const entry = program.command('entry').description('Entries: which workload may have which identity.');
  addDryRun(entry.command('create'))
    .description('Register an identity. Its workload gets it with a join token: writ join-token create.')
    .argument('<workload>', 'NAMESPACE/SERVICE or SPIFFE ID')
    .option('-l, --label <key=value>', 'label that policies select by; repeatable', collect, [])
    .option('--selector <text>', 'selector that attestation must prove; repeatable', collect, [])
    .option('--x509-ttl <duration>', 'longest lifetime of its certificates, such as 30m')
    .option('--jwt-ttl <duration>', 'longest lifetime of its tokens')
    .addOption(output(...formats))
    .action(async (workload: string, options: CreateOptions, command: Command) => {
      const labels = parseLabels(options.label);
      const x509TtlSeconds = ttl('--x509-ttl', options.x509Ttl);
      const jwtTtlSeconds = ttl('--jwt-ttl', options.jwtTtl);
      const { client } = await openSession(command, world);
      const spiffeId = await toSpiffeId(client, workload);
      const { body } = await client.call<EntryObject>({
        method: 'POST',
        path: '/v1/entries',
        ...dryRun(options),
        json: {
          spiffeId,
          labels,
          ...(options.selector.length > 0 && { selectors: options.selector }),
          ...(x509TtlSeconds !== undefined && { x509TtlSeconds }),
          ...(jwtTtlSeconds !== undefined && { jwtTtlSeconds }),
        },
      });
      printOne(world, options.output, kinds.entry.view, body);
      if (options.dryRun !== true) return;
      tellWarnings(world, spiffeId, body);
      world.stderr('Dry run: nothing was changed.\n');
    });
  limits(entry.command('list'))
    .description('The same as: writ get entries')
    .addOption(output(...formats))
    .action(async (options: Limits & { output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      printList(world, options.output, kinds.entry.view, await listAll(client, kinds.entry, options));
    });
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

function parseLabels(texts: readonly string[]): Record<string, string> {
  const labels = new Map<string, string>();
  for (const text of texts) {
    const at = text.indexOf('=');
    if (at <= 0) throw new AppError('usage', `--label must be key=value, not ${JSON.stringify(text)}.`);
    const key = text.slice(0, at);
    if (labels.has(key)) throw new AppError('usage', `The label ${key} is given twice.`);
    labels.set(key, text.slice(at + 1));
  }
  return Object.fromEntries(labels);
}

/** Seconds, within what the server takes. */
export function ttl(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = parseDuration(text);
  if (seconds === undefined || seconds < 1 || seconds > 86_400) {
    throw new AppError('usage', `${flag} must be a duration from 1s to 24h, such as 10m, not ${JSON.stringify(text)}.`);
  }
  return seconds;
}
