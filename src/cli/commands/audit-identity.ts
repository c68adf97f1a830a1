import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { IdentityRecord } from '../../core/audit/event.ts';
import { identityActions, identityOutcomes } from '../../core/audit/event.ts';
import type { Client } from '../client.ts';
import { identityColumns, identityLine } from '../identity-events.ts';
import { toSpiffeId } from '../info.ts';
import type { Session } from '../options.ts';
import { choice, openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList } from '../output.ts';
import { parseLimit, searchRecords } from '../search.ts';
import { tailRecords } from '../tail.ts';
import type { World } from '../world.ts';

interface Options {
  readonly subject?: string;
  readonly actor?: string;
  readonly action?: string;
  readonly outcome?: string;
  readonly entry?: string;
  readonly serial?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit: string;
  readonly follow?: boolean;
  readonly output: Format;
}

/** `writ audit identity`: who got which identity. */
export function addIdentityAudit(audit: Command, world: World): void {
  audit
    .command('identity')
    .summary('Who got which identity, and who was refused.')
    .description(
      'Search what was issued, refused and done to keys, nodes and entries, newest first; with --follow as it happens, until Ctrl-C.',
    )
    .option('--subject <workload>', 'whose identity: NAMESPACE/SERVICE or SPIFFE ID, or with a trailing * a prefix')
    .option(
      '--actor <name>',
      'who asked: SPIFFE ID, control-plane or the name of an admin; a trailing * makes a prefix',
    )
    .addOption(choice('--action <action>', 'what was done', identityActions))
    .addOption(choice('--outcome <outcome>', 'how it ended', identityOutcomes))
    .option('--entry <id>', 'id of the entry')
    .option('--serial <serial>', 'serial number of a certificate, jti of a token, or id of an authority')
    .option('--since <time>', 'at or after: RFC 3339, or an age such as 15m, 2h, 7d')
    .option('--until <time>', 'before')
    .option('--limit <number>', 'most events to show', '50')
    .option('--follow', 'show events as they are recorded')
    .addOption(output(...formats))
    .action(async (options: Options, command: Command) => {
      const limit = parseLimit(options.limit);
      const following = options.follow === true;
      if (following && options.output !== 'table' && options.output !== 'json') {
        throw new AppError('usage', `--follow writes -o table or -o json, not ${options.output}.`);
      }
      const session = await openSession(command, world);
      const query = await toQuery(session.client, options);
      if (following) return follow(session, query, options.output);
      const records = await searchRecords<IdentityRecord>(session.client, '/v1/audit/identity', query, limit, (note) =>
        world.stderr(note),
      );
      printList(world, options.output, { columns: identityColumns, name: (record) => record.id }, records);
    });
}

type Query = Readonly<Record<string, string | undefined>>;

async function follow({ client, style, world }: Session, query: Query, format: Format): Promise<void> {
  for await (const item of tailRecords<IdentityRecord>(client, '/v1/audit/identity/tail', query, world)) {
    if (item.type === 'record') {
      world.stdout(`${format === 'json' ? JSON.stringify(item.record) : identityLine(item.record, style)}\n`);
    } else if (item.type === 'lost') {
      world.stderr(`… ${item.count} events were too many to show; find them with: writ audit identity\n`);
    } else if (item.type === 'interrupted') {
      world.stderr(
        `… interrupted: ${item.why} Connecting again; events in between are found by: writ audit identity\n`,
      );
    }
  }
}

async function toQuery(client: Client, o: Options): Promise<Query> {
  return {
    subject: o.subject === undefined ? undefined : await toSubject(client, o.subject),
    actor: o.actor,
    action: o.action,
    outcome: o.outcome,
    entry: o.entry,
    serial: o.serial === undefined ? undefined : toSerial(o.serial),
    since: o.since,
    until: o.until,
  };
}

/** `shop/web`, `shop/*` and `shop/w*` are in the trust domain of the server. */
async function toSubject(client: Client, text: string): Promise<string> {
  if (!text.endsWith('*') || text.startsWith('spiffe:')) return toSpiffeId(client, text);
  // A name needs a last character to be one; it makes room for the * again.
  const whole = await toSpiffeId(client, `${text.slice(0, -1)}x`);
  return `${whole.slice(0, -1)}*`;
}

/** As other tools print serial numbers: `0A:1B:2C`. */
function toSerial(text: string): string {
  return /^[0-9a-f]{2}(:?[0-9a-f]{2})*$/i.test(text) ? text.replaceAll(':', '').toLowerCase() : text;
}
