import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { ProcessReport } from '../agent-admin.ts';
import { askAgent } from '../agent-admin.ts';
import type { GlobalOptions } from '../options.ts';
import { output, refuseCurl } from '../options.ts';
import type { Format } from '../output.ts';
import type { Style } from '../style.ts';
import { safe, styleFor } from '../style.ts';
import { findAdminSocket } from '../workload-api.ts';
import type { World } from '../world.ts';

interface WhyOptions {
  readonly pid: string;
  readonly adminSocket?: string;
  readonly socket?: string;
  readonly output: Format;
}

/** @param without called when the process has no identity. */
export function addWhy(identity: Command, world: World, without: () => void): void {
  identity
    .command('why')
    .description(
      'Say which identities a process of this machine has, what was found out about it, and what it lacks for others. Exit status 1 if it has none.',
    )
    .requiredOption('--pid <number>', 'the process')
    .option('--admin-socket <path>', "the agent's admin socket; beside that of its Workload API, if not given")
    .option('--socket <path|uri>', 'socket of the Workload API (SPIFFE_ENDPOINT_SOCKET)')
    .addOption(output('table', 'json'))
    .action(async (options: WhyOptions, command: Command) => {
      refuseCurl(command, 'identity why');
      if (!/^[1-9]\d{0,9}$/.test(options.pid)) throw new AppError('usage', '--pid must be the number of a process.');
      const socket = await findAdminSocket(options, world);
      const report = await askAgent<ProcessReport>(socket, `/v1/why?pid=${options.pid}`, world.signal);
      const style = styleFor(command.optsWithGlobals<GlobalOptions>().color, world);
      world.stdout(options.output === 'json' ? `${JSON.stringify(report, null, 2)}\n` : show(report, style));
      if (report.identities.length === 0) without();
    });
}

function show(report: ProcessReport, style: Style): string {
  const lines: string[] = [];
  const section = (title: string, items: readonly string[]) => {
    if (items.length > 0) lines.push('', style.bold(title), ...items.map((item) => `  ${item}`));
  };
  const { identities, nearest } = report;
  const head =
    identities.length === 0
      ? `${style.red('×')} process ${report.pid} (uid ${report.uid}) has no identity`
      : `${style.green('√')} process ${report.pid} (uid ${report.uid}) has ${count(identities.length, 'identity', 'identities')}`;
  lines.push(head);
  section(
    'Identities',
    identities.map(({ spiffeId, entryId }) => `${safe(spiffeId)}  ${style.dim(`entry ${safe(entryId)}`)}`),
  );
  section('Selectors that were found', report.selectors.map(safe));
  section(
    'Could not be found out',
    report.failures.map(({ attestor, message }) => `${attestor}: ${safe(message)}`),
  );
  section(
    identities.length === 0 ? 'Entries that come closest' : 'Other entries that come close',
    nearest.flatMap((miss) => [
      `${safe(miss.spiffeId)}  ${style.dim(`entry ${safe(miss.entryId)}`)}`,
      ...miss.missing.map(({ selector, instead }) => `  missing ${safe(selector)}${has(instead)}`),
      ...miss.notes.map((note) => `  ${safe(note)}`),
    ]),
  );
  if (identities.length === 0 && nearest.length === 0) {
    lines.push(
      '',
      `None of the ${count(report.entries, 'entry', 'entries')} of this agent asks for any of these selectors.`,
    );
  }
  if (!report.connected) lines.push('', style.yellow('The control plane is away: newer entries may exist.'));
  return `${lines.join('\n')}\n`;
}

function has(instead: readonly string[]): string {
  return instead.length === 0 ? '' : `; the process has ${instead.map(safe).join(', ')}`;
}

function count(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? one : many}`;
}
