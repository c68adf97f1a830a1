import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { AdminRecord } from '../../core/audit/admin-event.ts';
import { adminActions, adminOutcomes } from '../../core/audit/admin-event.ts';
import { adminColumns, adminDetails, adminLine } from '../admin-events.ts';
import type { Session } from '../options.ts';
import { choice, openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList, printOne } from '../output.ts';
import { parseLimit, searchRecords } from '../search.ts';
import { tailRecords } from '../tail.ts';
import type { World } from '../world.ts';

interface Options {
  readonly actor?: string;
  readonly action?: string;
  readonly outcome?: string;
  readonly operation?: string;
  readonly permission?: string;
  readonly object?: string;
  readonly address?: string;
  readonly request?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit: string;
  readonly follow?: boolean;
  readonly output: Format;
}

const view = { columns: adminColumns, name: (record: AdminRecord) => record.id };

/** `writ audit admin`: who did what to the control plane. */
export function addAdminAudit(audit: Command, world: World): void {
  audit
    .command('admin [event-id]')
    .summary('Who did what to the control plane, reads included.')
    .description(
      'Search what administrators did, reads and refusals included, newest first; with --follow as it happens, until Ctrl-C; with the id of an event that one in full, with the change that it made.',
    )
    .option('--actor <name>', 'who: name of an administrator, or control-plane; a trailing * makes a prefix')
    .addOption(choice('--action <action>', 'what kind of thing', adminActions))
    .addOption(choice('--outcome <outcome>', 'how it ended; begun: every write that was begun', adminOutcomes))
    .option('--operation <name>', 'which operation of the API, such as putPolicy')
    .option('--permission <name>', 'what it needed, such as policies:write; a trailing * makes a prefix')
    .option('--object <path>', 'path of what it was about; a trailing * makes a prefix')
    .option('--address <address>', 'network address of the caller')
    .option('--request <id>', 'id of the request, as its answer had it')
    .option('--since <time>', 'at or after: RFC 3339, or an age such as 15m, 2h, 7d')
    .option('--until <time>', 'before')
    .option('--limit <number>', 'most events to show', '50')
    .option('--follow', 'show events as they are recorded')
    .addOption(output(...formats))
    .action(async (id: string | undefined, options: Options, command: Command) => {
      const limit = parseLimit(options.limit);
      const following = options.follow === true;
      if (following && options.output !== 'table' && options.output !== 'json')
        throw new AppError('usage', `--follow writes -o table or -o json, not ${options.output}.`);
      const session = await openSession(command, world);
      if (id !== undefined) return show(session, id, options.output);
      if (following) return follow(session, toQuery(options), options.output);
      const records = await searchRecords<AdminRecord>(
        session.client,
        '/v1/audit/admin',
        toQuery(options),
        limit,
        (note) => world.stderr(note),
      );
      printList(world, options.output, view, records);
    });
}

type Query = Readonly<Record<string, string | undefined>>;

async function show({ client, world }: Session, id: string, format: Format): Promise<void> {
  const path = `/v1/audit/admin/${encodeURIComponent(id)}`;
  const { body } = await client.call<AdminRecord>({ method: 'GET', path });
  if (format === 'table') world.stdout(adminDetails(body));
  else printOne(world, format, view, body);
}

async function follow({ client, style, world }: Session, query: Query, format: Format): Promise<void> {
  for await (const item of tailRecords<AdminRecord>(client, '/v1/audit/admin/tail', query, world)) {
    if (item.type === 'record') {
      world.stdout(`${format === 'json' ? JSON.stringify(item.record) : adminLine(item.record, style)}\n`);
    } else if (item.type === 'lost') {
      world.stderr(`… ${item.count} events were too many to show; find them with: writ audit admin\n`);
    } else if (item.type === 'interrupted') {
      world.stderr(`… interrupted: ${item.why} Connecting again; events in between are found by: writ audit admin\n`);
    }
  }
}

function toQuery(o: Options): Query {
  const { actor, action, outcome, operation, permission, object, address, request, since, until } = o;
  return { actor, action, outcome, operation, permission, object, address, request, since, until };
}
