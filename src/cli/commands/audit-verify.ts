import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import type { ProvenEvent } from '../../core/audit/event-proof.ts';
import { verifyEventProof } from '../../core/audit/event-proof.ts';
import type { LogPolicy } from '../../core/audit/log-policy.ts';
import { MAX_POLICY_BYTES, parseLogPolicy } from '../../core/audit/log-policy.ts';
import { MAX_PROOF_BYTES } from '../../core/audit/tlog-proof.ts';
import { BodySource } from '../body-source.ts';
import { Client } from '../client.ts';
import { LogSource } from '../log-source.ts';
import { readLogState, writeLogState } from '../log-state.ts';
import type { GlobalOptions } from '../options.ts';
import { openSession, output, refuseCurl } from '../options.ts';
import type { Format } from '../output.ts';
import { safe, styleFor } from '../style.ts';
import { verifyLog } from '../verify-log.ts';
import type { World } from '../world.ts';
import { readLogInfo } from './audit-log.ts';
import { verifyData } from './audit-verify-disk.ts';

interface Options {
  readonly log?: string | true;
  readonly policy?: string;
  readonly state?: string;
  readonly events: boolean;
  readonly data?: string;
  readonly database?: string;
  readonly output: Format;
}

/** `writ audit verify`: a proof, or the whole log, with no trust in whoever keeps it. */
export function addVerify(audit: Command, world: World): void {
  audit
    .command('verify [proof]')
    .summary('Check a proof, or the whole log, with no trust in the control plane.')
    .description(
      'Check a .tlog-proof of writ audit prove, offline; or with --log the whole log: every entry is hashed again up to the signed root, and the batches of every sidecar follow each other; for this control plane the events of every batch are read, too. With --data the data directory of a control plane that is stopped, or a copy of it: every file of the audit, and the search index. Ends with status 1 for whatever does not verify.',
    )
    .option('--policy <file>', 'whom to trust (c2sp.org/tlog-policy); from: writ audit log --policy')
    .option('--log [url]', 'verify the whole log at this URL; without one, that of this control plane')
    .option('--state <file>', 'with --log: remembers how far it was verified; the next time only what is new is read')
    .option('--no-events', 'with --log: do not read the events, only what the log says of them')
    .option('--data <directory>', 'verify everything of the audit in this data directory, and name what differs')
    .option('--database <file>', 'with --data: the SQLite store; default: writ.db in that directory')
    .addOption(output('table', 'json'))
    .action(async (proof: string | undefined, options: Options, command: Command) => {
      refuseCurl(command, 'audit verify');
      if ([proof, options.log, options.data].filter((given) => given !== undefined).length !== 1)
        throw new AppError('usage', 'Give either the file of a proof, or --log, or --data.');
      if (options.data !== undefined) await verifyDirectory(options, options.data, command, world);
      else if (proof === undefined) await verifyWhole(options, command, world);
      else await verifyProof(proof, options, command, world);
    });
}

async function verifyProof(file: string, options: Options, command: Command, world: World): Promise<void> {
  if (options.policy === undefined) {
    throw new AppError(
      'usage',
      'A proof proves something to those who know whom they trust: give --policy. For this control plane: writ audit log --policy > policy.txt',
    );
  }
  const policy = await readPolicy(options.policy, world);
  const proven = verifyEventProof(await read(file, MAX_PROOF_BYTES, world), policy);
  if (options.output === 'json') world.stdout(`${JSON.stringify(toJson(proven), null, 2)}\n`);
  else world.stdout(describe(proven, command, world));
}

async function verifyDirectory(options: Options, data: string, command: Command, world: World): Promise<void> {
  const { policy: file, database, output } = options;
  if (file === undefined)
    throw new AppError(
      'usage',
      'Whoever changed this disk could have changed its keys: give --policy. While the control plane runs: writ audit log --policy > policy.txt',
    );
  await verifyData({ data, database, output }, await read(file, MAX_POLICY_BYTES, world), command, world);
}

async function verifyWhole(options: Options, command: Command, world: World): Promise<void> {
  const { source, bodies, policy } = await openLog(options, command, world);
  const statePath = options.state === undefined ? undefined : resolve(world.cwd, options.state);
  const before = statePath === undefined ? undefined : await readLogState(statePath);
  const started = world.clock.now();
  const { checkpoint, findings } = await verifyLog({
    source,
    policy,
    before,
    bodies,
    signal: world.signal,
    progress: (done, of) => {
      if (world.interactive)
        world.stderr(`\r${done} of ${of} batches (${Math.floor((done * 100) / of)} %)${done === of ? '\n' : ''}`);
    },
  });
  if (bodies !== undefined && bodies.findings.length > 0)
    throw new AppError(
      'proof-refused',
      'The log verifies, and the control plane holds other events than it has sealed.',
      {
        details: bodies.findings,
      },
    );
  if (statePath !== undefined) await writeLogState(statePath, { origin: checkpoint.origin, findings });
  const found = {
    origin: checkpoint.origin,
    batches: findings.size,
    events: findings.events,
    sidecars: findings.chains.size,
    newEpochs: findings.newEpochs,
    root: checkpoint.root.toString('base64'),
    witnesses: checkpoint.witnesses,
    eventsRead: bodies !== undefined,
    verifiedBefore: before?.findings.size ?? 0,
    seconds: (world.clock.now() - started) / 1000,
  };
  if (options.output === 'json') {
    world.stdout(`${JSON.stringify(found, null, 2)}\n`);
    return;
  }
  const { green } = styleFor(command.optsWithGlobals<GlobalOptions>().color, world);
  world.stdout(
    `${green('✓')} ${safe(found.origin)}: ${found.batches} batches with ${found.events} events of ${found.sidecars} recorders, nothing changed and nothing left out${found.eventsRead ? '; each event is as it was signed' : ''}\n` +
      `  root       ${found.root}\n` +
      `  witnesses  ${found.witnesses.length === 0 ? 'none' : safe(found.witnesses.join(', '))}\n` +
      (found.verifiedBefore > 0 ? `  read       ${found.batches - found.verifiedBefore} batches that are new\n` : '') +
      (found.newEpochs > 0
        ? `  holes      ${found.newEpochs} that sidecars admit: writ audit search shows what is there\n`
        : ''),
  );
}

async function openLog(
  options: Options,
  command: Command,
  world: World,
): Promise<{
  readonly source: LogSource;
  /** Nobody else gives events. */
  readonly bodies?: BodySource;
  readonly policy: LogPolicy;
}> {
  if (typeof options.log === 'string') {
    const url = urlOf(options.log);
    if (options.policy === undefined)
      throw new AppError(
        'usage',
        'Whom do you trust about this log? Give --policy; its keeper can print one: writ audit log --policy',
      );
    // Without a token: it is for our control plane, and this may be anybody.
    const client = new Client({ url, hint: 'Is the URL right?' }, { fetch: world.fetch });
    return {
      source: new LogSource(client, url.pathname.replace(/\/+$/, '')),
      policy: await readPolicy(options.policy, world),
    };
  }
  const { client } = await openSession(command, world);
  const info = await readLogInfo(client);
  if (options.policy === undefined)
    world.stderr(
      'Without --policy the keys are those that this control plane names itself: it could have made another log.\n',
    );
  const policy =
    options.policy === undefined ? parseLogPolicy(Buffer.from(info.policy)) : await readPolicy(options.policy, world);
  return { source: new LogSource(client, '/log'), ...(options.events && { bodies: new BodySource(client) }), policy };
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== '' || url.username !== '')
    throw new AppError(
      'usage',
      `--log is the URL of a log, such as https://audit.example.org/log, not ${JSON.stringify(text)}.`,
    );
  return url;
}

async function readPolicy(file: string, world: World): Promise<LogPolicy> {
  return parseLogPolicy(await read(file, MAX_POLICY_BYTES, world));
}

async function read(file: string, max: number, world: World): Promise<Buffer> {
  const path = resolve(world.cwd, file);
  try {
    if ((await stat(path)).size > max) throw new AppError('usage', `${file} is longer than ${max} bytes.`);
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('usage', `Cannot read ${file}: ${reason(cause)}.`, { cause });
  }
}

function toJson({ event, record, sequence, leaf, checkpoint }: ProvenEvent) {
  return {
    id: `${record.batch.instanceId}.${record.batch.epoch}.${sequence}`,
    event: { ...event, time: new Date(event.time).toISOString() },
    recordedBy: record.spiffeId,
    receivedAt: new Date(record.receivedAt).toISOString(),
    log: {
      origin: checkpoint.origin,
      leaf,
      size: checkpoint.size,
      root: checkpoint.root.toString('base64'),
      witnesses: checkpoint.witnesses,
    },
  };
}

function describe(proven: ProvenEvent, command: Command, world: World): string {
  const { green } = styleFor(command.optsWithGlobals<GlobalOptions>().color, world);
  const { id, event, recordedBy, receivedAt, log } = toJson(proven);
  const fields = Object.entries(event).filter(([, value]) => value !== '' && String(value) !== '');
  const lines = [
    ['recorded by', recordedBy],
    ['received', receivedAt],
    ['log', `${log.origin}, batch ${log.leaf} of ${log.size}`],
    ['witnesses', log.witnesses.length === 0 ? 'none' : log.witnesses.join(', ')],
    ...fields.map(([name, value]) => [name, String(value)]),
  ];
  const body = lines.map(([name = '', value = '']) => `  ${name.padEnd(18)}${safe(value)}\n`).join('');
  return `${green('✓')} ${safe(id)} is on the record\n${body}`;
}
