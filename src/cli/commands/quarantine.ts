import type { Command } from 'commander';
import { AppError } from '../../base/errors.ts';
import type { QuarantineObject } from '../api.ts';
import { shortName } from '../api.ts';
import { addDryRun, dryRun, tellWarnings } from '../dry-run.ts';
import { toSpiffeId } from '../info.ts';
import { findOne, kinds, listAll } from '../kinds.ts';
import type { Session } from '../options.ts';
import { openSession, output } from '../options.ts';
import type { Format } from '../output.ts';
import { formats, printList, printOne } from '../output.ts';
import { safe } from '../style.ts';
import type { World } from '../world.ts';

const kind = kinds.quarantine;
/** How long sidecars are given to obey before it is said that some do not, in milliseconds. */
const WAIT_MS = 5_000;
const POLL_MS = 50;

interface WriteOptions {
  readonly reason?: string;
  readonly dryRun?: boolean;
  readonly wait: boolean;
}

/** @param failed called when some connected sidecars did not obey in time. */
export function addQuarantine(program: Command, world: World, failed: () => void): void {
  const quarantine = addWrite(program.command('quarantine'))
    .summary('Cut an identity off from the mesh at once, and let it in again.')
    .description(
      'Cut an identity off: its calls and calls to it are refused by every sidecar, open connections end, and it gets no ' +
        'certificate and no token. No policy can override it. Waits until every connected sidecar obeys.',
    )
    .argument('<identity>', 'SPIFFE ID or NAMESPACE/SERVICE')
    .action(async (identity: string, options: WriteOptions, command: Command) => {
      const reason = reasonOf(options);
      const session = await openSession(command, world);
      const spiffeId = await toSpiffeId(session.client, identity);
      const json = { spiffeId, reason };
      const call = { method: 'POST' as const, path: kind.path, ...dryRun(options), json };
      const { body } = await session.client.call<QuarantineObject>(call);
      tellWarnings(world, shortName(spiffeId), body);
      const done = body.warnings?.some(({ code }) => code === 'unchanged')
        ? 'was in quarantine already'
        : 'quarantined';
      await finish(body, { session, options, done, failed });
    });
  quarantine
    .command('list')
    .description('List the identities in quarantine, the newest first.')
    .option('--released', 'those that were released instead')
    .addOption(output(...formats))
    .action(async (options: { readonly released?: boolean; readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      const more = options.released === true ? { released: 'true' } : {};
      printList(world, options.output, kind.view, await listAll(client, kind, { more }));
    });
  quarantine
    .command('show')
    .description('Everything about one quarantine, and which sidecars obey it.')
    .argument('<identity>', kind.reference)
    .addOption(output('yaml', ...formats.filter((format) => format !== 'yaml')))
    .action(async (reference: string, options: { readonly output: Format }, command: Command) => {
      const { client } = await openSession(command, world);
      printOne(world, options.output, kind.view, await findOne(client, kind, reference));
    });
  addWrite(quarantine.command('release'))
    .description('Let an identity in again, as far as the policies do. Waits until every connected sidecar obeys.')
    .argument('<identity>', kind.reference)
    .action(async (reference: string, _own: unknown, command: Command) => {
      // `--reason` and the others are options of both commands, and the outer one reads them where they stand.
      const options = command.optsWithGlobals<WriteOptions>();
      const reason = reasonOf(options);
      const session = await openSession(command, world);
      const found = await findOne(session.client.reader, kind, reference);
      const path = `${kind.path}/${encodeURIComponent(found.id)}:release`;
      const call = { method: 'POST' as const, path, ...dryRun(options), json: { reason } };
      const { body } = await session.client.call<QuarantineObject>(call);
      await finish(body, { session, options, done: 'released', failed });
    });
}

function addWrite(command: Command): Command {
  return addDryRun(command)
    .option('--reason <text>', 'why, for the record: one line, such as an incident (required)')
    .option('--no-wait', 'do not wait for the sidecars');
}

/** Not left to the parser: it would ask for it before `quarantine list` too. */
function reasonOf({ reason }: WriteOptions): string {
  if (reason !== undefined) return reason;
  throw new AppError('usage', 'Say why, for the record: --reason <text>.');
}

interface Finish {
  readonly session: Session;
  readonly options: WriteOptions;
  readonly done: string;
  readonly failed: () => void;
}

/** Says what was done, and where it has arrived. */
async function finish(made: QuarantineObject, { session, options, done, failed }: Finish): Promise<void> {
  const { world } = session;
  const name = shortName(made.spiffeId);
  world.stdout(`${safe(name)} ${done}${options.dryRun === true ? ' (dry run)' : ''}\n`);
  if (options.dryRun === true || !options.wait) return;
  const { enforcement } = await untilObeyed(made, session);
  const { connected, obeying, waiting, away } = enforcement;
  const elsewhere = away === 0 ? '' : `, and ${away} will when they are back`;
  world.stderr(`${obeying} of ${connected} connected sidecars obey${elsewhere}.\n`);
  if (obeying === connected) return;
  for (const each of waiting) world.stderr(`  does not yet: ${safe(each)}\n`);
  failed();
}

async function untilObeyed(made: QuarantineObject, { client, world }: Session): Promise<QuarantineObject> {
  const until = world.clock.now() + WAIT_MS;
  const path = `${kind.path}/${encodeURIComponent(made.id)}`;
  let seen = made;
  while (seen.enforcement.obeying < seen.enforcement.connected && world.clock.now() < until) {
    await new Promise<void>((resolve) => {
      // It keeps the process alive, unlike a timer of the clock.
      setTimeout(resolve, POLL_MS);
    });
    seen = (await client.reader.call<QuarantineObject>({ method: 'GET', path })).body;
  }
  return seen;
}
