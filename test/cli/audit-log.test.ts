import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { verifyLog } from '../../src/cli/verify-log.ts';
import { LogFiles } from '../../src/control/ledger/log/log-files.ts';
import { formatLogPolicy, parseLogPolicy } from '../../src/core/audit/log-policy.ts';
import { formatVkey } from '../../src/core/audit/note-key.ts';
import type { TileId } from '../../src/core/audit/tile.ts';
import { decision, shippingIdentity } from '../support/audit.ts';
import type { LogWorld } from '../support/audit-log.ts';
import { logKeys, logWorld, openTestLog, origin, SignedLedger } from '../support/audit-log.ts';
import { expectAppError } from '../support/errors.ts';
import { testSidecar } from '../support/test-sidecar.ts';
import { askDirectly, openWitness, openWitnessedLog, witnessPolicy } from '../support/witness.ts';
import type { Connected } from './server.ts';
import { connect } from './server.ts';

interface Setting extends LogWorld {
  readonly cli: Connected;
  readonly policy: string;
  /** Everything recorded is in the log. */
  seal(): Promise<void>;
}

async function setUp(count: number, o: Parameters<typeof connect>[0] = {}): Promise<Setting> {
  const sidecars = ['sidecar-a', 'sidecar-b'].map((id) => testSidecar(shippingIdentity(id)));
  const sources = logWorld({ ledger: new SignedLedger(sidecars) });
  const { log, sequencer } = await openTestLog(sources);
  const seal = async () => {
    while (await sequencer.step());
  };
  for (let i = 0; i < count; i++) sources.ledger.add([decision()], i % 2);
  await seal();
  const cli = await connect({ ...o, deps: { log, logIsPublic: true } });
  const policy = await cli.file('policy.txt', formatLogPolicy((await logKeys()).publicKeys.map(formatVkey)));
  return { ...sources, cli, policy, seal };
}

describe('audit prove and audit verify', () => {
  it('audit 22: prove an event to somebody who has nothing but the proof and a policy', async () => {
    const { cli, ledger, seal } = await setUp(3);
    ledger.add([
      decision(),
      decision({ path: '/secret', decision: 'deny', reason: 'default-deny', rule: 'default-deny' }),
    ]);
    await seal();
    const proved = await cli.run('audit', 'prove', 'sidecar-a.1.4', '-o', 'call.tlog-proof');
    expect(proved).toMatchObject({ status: 0, stdout: '' });
    await cli.file('trust.txt', (await cli.run('audit', 'log', '--policy')).stdout);
    // Offline: nothing answers any more.
    Object.assign(cli.world.env, { WRIT_ADDR: 'http://127.0.0.1:1' });
    const table = await cli.run('audit', 'verify', 'call.tlog-proof', '--policy', 'trust.txt');
    expect(table.status).toBe(0);
    expect(table.stdout).toMatch(
      /^✓ sidecar-a\.1\.4 is on the record\n {2}recorded by +spiffe:\/\/example.org\/ns\/shop\/sa\/orders\n/,
    );
    expect(table.stdout).toMatch(/ {2}path +\/secret\n/);
    expect(table.stdout).toContain(`${origin}, batch 3 of 4`);
    const json = JSON.parse(
      (await cli.run('audit', 'verify', 'call.tlog-proof', '--policy', 'trust.txt', '-o', 'json')).stdout,
    );
    expect(json).toMatchObject({
      id: 'sidecar-a.1.4',
      event: { path: '/secret', decision: 'deny' },
      log: { origin, leaf: 3, size: 4 },
    });
  });

  it('audit 22: refuse a proof with one byte changed, or for another policy', async () => {
    const { cli, policy } = await setUp(3);
    const { stdout } = await cli.run('audit', 'prove', 'sidecar-a.1.1');
    const path = join(cli.cwd, 'p.tlog-proof');
    for (let at = 0; at < stdout.length; at += 97) {
      const bytes = Buffer.from(stdout);
      bytes.writeUInt8((bytes[at] ?? 0) ^ 1, at);
      await writeFile(path, bytes);
      const { status } = await cli.run('audit', 'verify', 'p.tlog-proof', '--policy', policy);
      expect({ at, status }).toEqual({ at, status: 1 });
    }
    await writeFile(path, stdout);
    await cli.file(
      'other.txt',
      'log PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\nquorum none\n',
    );
    const refused = await cli.run('audit', 'verify', 'p.tlog-proof', '--policy', 'other.txt');
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain(
      'The checkpoint is refused: the policy does not name the log example.org/writ/audit.',
    );
    expect(refused.stderr).toContain('#proof-refused');
  });

  it('wait for the checkpoint of an event that was recorded just now', async () => {
    const { cli, ledger, seal } = await setUp(1);
    ledger.add();
    const proving = cli.run('audit', 'prove', 'sidecar-a.1.2');
    await expect.poll(() => cli.rest.clock.pendingTimers).toBeGreaterThan(0);
    await seal();
    await cli.rest.clock.advance(1000);
    expect((await proving).status).toBe(0);
  });

  it('say what is missing', async () => {
    const { cli, policy } = await setUp(1);
    expect((await cli.run('audit', 'verify')).stderr).toContain(
      'Give either the file of a proof, or --log, or --data.',
    );
    expect((await cli.run('audit', 'verify', 'x', '--log')).status).toBe(2);
    expect((await cli.run('audit', 'verify', 'x')).stderr).toContain('writ audit log --policy > policy.txt');
    expect((await cli.run('audit', 'verify', 'x', '--policy', policy)).stderr).toContain('Cannot read x: ENOENT.');
    expect((await cli.run('audit', 'verify', '--log', 'ftp://x', '--policy', policy)).status).toBe(2);
    expect((await cli.run('audit', 'verify', '--log', cli.url)).stderr).toContain('Give --policy');
    expect((await cli.run('audit', 'prove', 'no.1.1')).status).toBe(1);
  });
});

describe('audit verify --log', () => {
  it('audit 1, 5, 7: derives the whole log again', async () => {
    const { cli, policy } = await setUp(300);
    const { status, stdout, stderr } = await cli.run('audit', 'verify', '--log', `${cli.url}/log`, '--policy', policy);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(
      /^✓ example.org\/writ\/audit: 300 batches with 300 events of 2 recorders, nothing changed and nothing left out\n/,
    );
  });

  it('takes that of this control plane when no URL is given, and says whose word it takes', async () => {
    const { cli } = await setUp(2);
    const { status, stderr } = await cli.run('audit', 'verify', '--log');
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr:
        'Without --policy the keys are those that this control plane names itself: it could have made another log.\n',
    });
  });

  it('shows how far it is on a terminal', async () => {
    const { cli, policy } = await setUp(300, { interactive: true });
    const { stderr } = await cli.run('audit', 'verify', '--log', `${cli.url}/log`, '--policy', policy);
    expect(stderr).toBe('\r256 of 300 batches (85 %)\r300 of 300 batches (100 %)\n');
  });

  it('reads only what is new, and notices when what it has seen has changed', async () => {
    const { cli, policy, ledger, seal, files } = await setUp(290);
    const verify = () =>
      cli.run('audit', 'verify', '--log', `${cli.url}/log`, '--policy', policy, '--state', 'seen.json', '-o', 'json');
    expect(JSON.parse((await verify()).stdout)).toMatchObject({ batches: 290, verifiedBefore: 0 });
    for (let i = 0; i < 300; i++) ledger.add([decision()], i % 2);
    await seal();
    expect(JSON.parse((await verify()).stdout)).toMatchObject({ batches: 590, events: 590, verifiedBefore: 290 });
    expect(JSON.parse((await verify()).stdout)).toMatchObject({ batches: 590, verifiedBefore: 590 });
    // Of the tile that is not full yet.
    files.tamper('entries-00000000', (bytes) => change(bytes, bytes.length - 700));
    ledger.add();
    await seal();
    const { status, stderr } = await verify();
    expect(status).toBe(1);
    expect(stderr).toMatch(/entry \d+ \(tile\/entries\/002.p\/79\) has changed since it was verified/);
  });

  it('audit T29: notices a log that was rolled back, and one that was exchanged', async () => {
    const first = await setUp(20);
    const verify = ({ cli, policy }: Setting, state: string) =>
      cli.run('audit', 'verify', '--log', `${cli.url}/log`, '--policy', policy, '--state', state);
    const state = join(first.cli.cwd, 'seen.json');
    expect((await verify(first, state)).status).toBe(0);
    const shorter = await setUp(10);
    expect((await verify(shorter, state)).stderr).toContain('it was rolled back: it had 20 entries, and has 10.');
    const other = await setUp(20);
    expect((await verify(other, state)).stderr).toMatch(
      /entry 0 \(tile\/entries\/000.p\/20\) has changed since it was verified/,
    );
    const stored = JSON.parse(await readFile(state, 'utf8'));
    await writeFile(state, JSON.stringify({ ...stored, size: 21 }));
    expect((await verify(first, state)).stderr).toContain('is not the state of a verification');
  });

  it.each(['entries-00000000', 'hashes-00-00000000', 'hashes-01-00000000'])(
    'names where a changed byte of %s is, wherever it is',
    async (name) => {
      const { cli, policy, files } = await setUp(520);
      const whole = Buffer.from(files.content(name));
      const step = Math.ceil(whole.length / 12);
      for (let at = 1; at < whole.length; at += step) {
        files.tamper(name, () => change(whole, at));
        const { status, stderr } = await cli.run('audit', 'verify', '--log', `${cli.url}/log`, '--policy', policy);
        expect({ name, at, status }).toEqual({ name, at, status: 1 });
        expect(stderr).toMatch(/(tile\/(entries|\d)\/\d{3})|Entry \d+ of the log/);
      }
    },
  );

  it('notices a checkpoint of another log that is as large', async () => {
    const [one, other] = [await setUp(20), await setUp(20)];
    const name = one.files.names().find((file) => file.startsWith('checkpoint')) ?? '';
    const checkpoint = other.files.content(name);
    const files = new LogFiles(one.files);
    const source = { checkpoint: async () => checkpoint, tile: (id: TileId) => files.tile(id) };
    const policy = parseLogPolicy(await readFile(one.policy));
    const { signal } = new AbortController();
    await expectAppError(
      verifyLog({ source, policy, progress: () => undefined, signal }),
      'proof-refused',
      'The log does not verify: its 20 entries do not have the root that the checkpoint signs.',
    );
  });

  it('notices a batch that was left out before the log was built', async () => {
    const setting = await setUp(4);
    const { cli, policy, ledger, seal } = setting;
    ledger.addMany(3);
    ledger.batches.splice(5, 1);
    ledger.batches.forEach((batch, leaf) => {
      ledger.batches[leaf] = { ...batch, leaf };
    });
    ledger.size.set(6);
    await seal();
    const { status, stderr } = await cli.run('audit', 'verify', '--log', `${cli.url}/log`, '--policy', policy);
    expect(status).toBe(1);
    expect(stderr).toContain(
      'Entry 5 of the log is refused: the batch of sidecar sidecar-a (epoch 1, event 5) does not follow what is there of it, which asks for epoch 1, event 4: something was left out, changed or put in.',
    );
  });
});

describe('audit verify with witnesses', () => {
  it('audit 19, 23: takes what the quorum has cosigned, names who has, and refuses less', async () => {
    const [a, b] = [await openWitness(undefined, { name: 'w/a' }), await openWitness(undefined, { name: 'w/b' })];
    const urls = { 'https://a': a, 'https://b': b };
    const sources = logWorld({ ledger: new SignedLedger([testSidecar(shippingIdentity('sidecar-a'))]) });
    const asked = { policy: await witnessPolicy(urls, 'any'), ask: askDirectly({ 'https://a': a }) };
    const { log, sequencer, witnesses } = await openWitnessedLog(sources, asked);
    sources.ledger.add([decision()]);
    await sequencer.step();
    const stop = new AbortController();
    const running = witnesses.run(stop.signal);
    for (let i = 0; i < 200 && witnesses.states.every(({ problem }) => problem === undefined); i++)
      await sources.clock.advance(100);
    stop.abort();
    await running;
    const cli = await connect({ deps: { log, logIsPublic: true } });
    expect((await cli.run('audit', 'log')).stdout).toMatch(/ w1 \(1\), w2 \(away\) +yes\n$/);
    const printed = (await cli.run('audit', 'log', '--policy')).stdout;
    await cli.file('policy.txt', printed);
    const verified = await cli.run('audit', 'verify', '--log', '--policy', 'policy.txt');
    expect(verified.stdout).toMatch(/ {2}witnesses {2}w1\n/);
    expect((await cli.run('audit', 'prove', 'sidecar-a.1.1', '-o', 'p')).status).toBe(0);
    expect((await cli.run('audit', 'verify', 'p', '--policy', 'policy.txt')).stdout).toMatch(/witnesses +w1\n/);
    await cli.file('both.txt', printed.replace('group enough 1', 'group enough 2'));
    for (const what of [['--log'], ['p']]) {
      const refused = await cli.run('audit', 'verify', ...what, '--policy', 'both.txt');
      expect(refused.status).toBe(1);
      expect(refused.stderr).toContain('its witnesses (w1) are not the quorum enough');
    }
  });
});

describe('audit log', () => {
  it('shows the log of this control plane', async () => {
    const { cli } = await setUp(2);
    expect((await cli.run('audit', 'log')).stdout).toMatch(
      /^ORIGIN +BATCHES +ROOT +WITNESSES +PUBLIC\nexample.org\/writ\/audit +2 +\S{44} +none +yes\n$/,
    );
    expect(JSON.parse((await cli.run('audit', 'log', '-o', 'json')).stdout)).toMatchObject({ origin, size: 2 });
  });
});

function change(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed.writeUInt8((changed[at] ?? 0) ^ 0x04, at);
  return changed;
}
