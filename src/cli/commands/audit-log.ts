import type { Command } from 'commander';
import type { Client } from '../client.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { printOne } from '../output.ts';
import type { World } from '../world.ts';

/** As REST gives it. */
export interface LogInfo {
  readonly origin: string;
  readonly size: number;
  readonly root: string;
  readonly keys: readonly string[];
  readonly policy: string;
  readonly path: string;
  readonly public: boolean;
  readonly quorum: string;
  readonly witnesses: readonly {
    readonly name: string;
    readonly size: number;
    readonly problem: string | null;
    readonly contradicted: boolean;
  }[];
}

const columns = [
  { head: 'ORIGIN', cell: (log: LogInfo) => log.origin },
  { head: 'BATCHES', cell: (log: LogInfo) => String(log.size) },
  { head: 'ROOT', cell: (log: LogInfo) => log.root },
  { head: 'WITNESSES', cell: ({ witnesses }: LogInfo) => witnesses.map(witnessCell).join(', ') || 'none' },
  { head: 'PUBLIC', cell: (log: LogInfo) => (log.public ? 'yes' : 'no') },
];

function witnessCell({ name, size, problem, contradicted }: LogInfo['witnesses'][number]): string {
  return `${name} (${contradicted ? 'CONTRADICTS' : problem === null ? size : 'away'})`;
}

/** `writ audit log`: which log this control plane keeps, and whom a verifier has to trust for it. */
export function addAuditLog(audit: Command, world: World): void {
  audit
    .command('log')
    .summary('The tamper-evident log: its name, size and keys.')
    .description(
      'The tamper-evident log of this control plane. With --policy it prints the policy that trusts exactly this log: keep it where this control plane cannot write.',
    )
    .option('--policy', 'print the policy for: writ audit verify --policy')
    .addOption(output('table', 'json'))
    .action(async (options: { policy?: boolean; output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      const log = await readLogInfo(client);
      if (options.policy === true) world.stdout(log.policy);
      else printOne(world, options.output, { columns, name: ({ origin }) => origin }, log);
    });
}

export async function readLogInfo(client: Client): Promise<LogInfo> {
  return (await client.call<LogInfo>({ method: 'GET', path: '/v1/audit/log' })).body;
}
