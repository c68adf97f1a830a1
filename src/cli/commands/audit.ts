import type { Command } from 'commander';
import type { AuditRecord } from '../../core/audit/event.ts';
import { callColumns, callLine } from '../calls.ts';
import type { Client } from '../client.ts';
import { toSpiffeId } from '../info.ts';
import { OncePerCall } from '../once.ts';
import { choice, openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList } from '../output.ts';
import { parseLimit, searchRecords } from '../search.ts';
import { tailAudit } from '../tail.ts';
import type { World } from '../world.ts';
import { addAdminAudit } from './audit-admin.ts';
import { addIdentityAudit } from './audit-identity.ts';
import { addAuditLog } from './audit-log.ts';
import { addProve } from './audit-prove.ts';
import { addReindex } from './audit-reindex.ts';
import { addAuditSinks } from './audit-sinks.ts';
import { addVerify } from './audit-verify.ts';

export function addAudit(program: Command, world: World): void {
  const audit = program
    .command('audit')
    .description(
      'What was called, by whom, and how it was decided; who got which identity; who did what to the control plane.',
    );
  filters(audit.command('tail'))
    .summary('Follow calls as they are recorded.')
    .description(
      'Follow calls as they are recorded, until Ctrl-C: one line a call; with -o json one object a line, and a call twice: decided, and ended.',
    )
    .addOption(output('table', 'json'))
    .action(async (options: FilterOptions & { output: Format }, command: Command) => {
      const { client, style } = await openSession(command, world);
      const query = await toQuery(client, options);
      const lines = new OncePerCall(world.clock, (record) => world.stdout(`${callLine(record, style)}\n`));
      for await (const item of tailAudit(client, query, world)) {
        if (item.type === 'record') {
          if (options.output === 'table') lines.add(item.record);
          else world.stdout(`${JSON.stringify(item.record)}\n`);
        } else if (item.type === 'lost') {
          world.stderr(`… ${item.count} calls were too many to show; find them with: writ audit search\n`);
        } else if (item.type === 'interrupted') {
          world.stderr(
            `… interrupted: ${item.why} Connecting again; calls in between are found by: writ audit search\n`,
          );
        }
      }
    });
  filters(audit.command('search'))
    .description('Search recorded calls, newest first.')
    .option('--limit <number>', 'most calls to show', '50')
    .addOption(output(...formats))
    .action(async (options: FilterOptions & { output: Format; limit: string }, command: Command) => {
      const limit = parseLimit(options.limit);
      const { client } = await openSession(command, world);
      const records = await searchRecords<AuditRecord>(
        client,
        '/v1/audit/events',
        await toQuery(client, options),
        limit,
        (note) => world.stderr(note),
      );
      printList(world, options.output, { columns: callColumns, name: (record) => record.id }, records);
    });
  addIdentityAudit(audit, world);
  addAdminAudit(audit, world);
  addProve(audit, world);
  addAuditSinks(audit, world);
  addVerify(audit, world);
  addAuditLog(audit, world);
  addReindex(audit, world);
}

interface FilterOptions {
  readonly from?: string;
  readonly to?: string;
  readonly decision?: string;
  readonly rule?: string;
  readonly path?: string;
  readonly trace?: string;
  readonly since?: string;
  readonly until?: string;
}

function filters(command: Command): Command {
  return command
    .option('--from <workload>', 'caller: NAMESPACE/SERVICE or SPIFFE ID')
    .option('--to <workload>', 'called workload')
    .addOption(choice('--decision <verdict>', 'how it was decided', ['allow', 'deny']))
    .option('--rule <id>', 'rule that decided, or default-deny')
    .option('--path <prefix>', 'exactly, or with a trailing * as a prefix')
    .option('--trace <id>', 'W3C trace id')
    .option('--since <time>', 'at or after: RFC 3339, or an age such as 15m, 2h, 7d')
    .option('--until <time>', 'before');
}

async function toQuery(client: Client, o: FilterOptions): Promise<Record<string, string | undefined>> {
  return {
    source: o.from === undefined ? undefined : await toSpiffeId(client, o.from),
    destination: o.to === undefined ? undefined : await toSpiffeId(client, o.to),
    decision: o.decision,
    rule: o.rule,
    path: o.path,
    trace: o.trace,
    since: o.since,
    until: o.until,
  };
}
