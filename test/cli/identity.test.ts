import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { serveAdminSocket } from '../../src/node/agent/admin/admin-socket.ts';
import { UnixAttestor } from '../../src/node/agent/attest-workload/unix.ts';
import { TestIdentities, testEntry } from '../node/agent/test-identities.ts';
import { startTestAgent } from '../node/agent/workload-client.ts';
import { FakeClock } from '../support/clock.ts';
import { createTestAuthority } from '../support/pki.ts';
import { createTerminal } from './terminal.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';

/** A terminal beside an agent, which the environment names. */
async function beside(o: { readonly stdin?: string; readonly entries?: ReturnType<typeof testEntry>[] } = {}) {
  const identities = new TestIdentities();
  const agent = await startTestAgent({ identities });
  identities.set(o.entries ?? [testEntry({ spiffeId: WEB, hint: 'main' }), testEntry({ spiffeId: ORDERS })]);
  const terminal = await createTerminal({
    env: { SPIFFE_ENDPOINT_SOCKET: agent.server.uri },
    clock: new FakeClock(Date.now()),
    ...(o.stdin !== undefined && { stdin: o.stdin }),
  });
  return { ...agent, ...terminal };
}

async function withAdmin() {
  const world = await beside({ entries: [] });
  const admin = await serveAdminSocket({
    path: world.socketPath.replace('.sock', '-admin.sock'),
    spiffeId: () => 'spiffe://example.org/writ/agent/x/1',
    identities: world.identities,
    attestors: [new UnixAttestor()],
    clock: systemClock,
    logger: silentLogger,
  });
  onTestFinished(() => admin.close());
  return world;
}

describe('writ identity fetch', () => {
  it('shows X.509-SVIDs, and never a key', async () => {
    const { run } = await beside();
    const shown = await run('identity', 'fetch', 'x509');
    expect(shown).toMatchObject({ status: 0, stderr: '' });
    expect(shown.stdout).toMatch(
      /^SPIFFE ID +HINT +SERIAL +EXPIRES\nspiffe:\/\/example.org\/ns\/shop\/sa\/web +main +[0-9a-f]{16} +in (?:59|60)m\nspiffe.*orders +- /,
    );
    const json = await run('identity', 'fetch', 'x509', '-o', 'json');
    const { items } = JSON.parse(json.stdout) as { items: { spiffeId: string; chain: string }[] };
    expect(items.map(({ spiffeId }) => spiffeId)).toEqual([WEB, ORDERS]);
    expect(new X509Certificate(items[0]?.chain ?? '').subjectAltName).toBe(`URI:${WEB}`);
    expect(json.stdout).not.toContain('PRIVATE');
  });

  it('writes them as PEM files, keys for the user alone', async () => {
    const { run, cwd, identities } = await beside();
    identities.set([testEntry({ spiffeId: WEB, federatesWith: ['other.test'] })], {
      federated: new Map([['other.test', createTestAuthority({ trustDomain: 'other.test' }).bundle]]),
    });
    const written = await run('identity', 'fetch', 'x509', '--write', 'out');
    expect(written).toMatchObject({ status: 0, stdout: '' });
    const out = join(cwd, 'out');
    expect((await readdir(out)).sort()).toEqual([
      'bundle.0.pem',
      'federated_bundle.0.0.pem',
      'svid.0.key',
      'svid.0.pem',
    ]);
    expect((await stat(join(out, 'svid.0.key'))).mode & 0o777).toBe(0o600);
    const leaf = new X509Certificate(await readFile(join(out, 'svid.0.pem')));
    expect(leaf.checkPrivateKey(createPrivateKey(await readFile(join(out, 'svid.0.key'))))).toBe(true);
    const refused = await run('identity', 'fetch', 'x509', '--write', '/proc/nothing');
    expect(refused).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('Cannot create the directory /proc/nothing'),
    });
  });

  it('prints tokens on standard output and nothing else there', async () => {
    const { run } = await beside();
    const jwt = await run('identity', 'fetch', 'jwt', '--audience', 'a', '--audience', 'b', '--spiffe-id', ORDERS);
    expect(jwt.status).toBe(0);
    expect(jwt.stdout).toMatch(/^ey[\w-]+\.[\w-]+\.[\w-]+\n$/);
    expect(JSON.parse(Buffer.from(jwt.stdout.split('.')[1] ?? '', 'base64url').toString())).toMatchObject({
      sub: ORDERS,
      aud: ['a', 'b'],
    });
    expect(jwt.stderr).toMatch(/orders +- +in 4m|orders +- +in 5m/);
    expect((await run('identity', 'fetch', 'jwt')).status).toBe(2);
    const wit = await run('identity', 'fetch', 'wit');
    expect(wit).toMatchObject({ status: 0, stdout: expect.stringMatching(/^(ey[\w-]+\.[\w-]+\.[\w-]+\n){2}$/) });
  });

  it('ends with 4 without an identity, 3 without an agent, 2 for an address that is none', async () => {
    const { run, cwd } = await beside({ entries: [] });
    expect(await run('identity', 'fetch', 'x509')).toMatchObject({
      status: 4,
      stderr: expect.stringContaining('There is no identity for this process.'),
    });
    expect(await run('identity', 'bundles', '--socket', 'none.sock')).toMatchObject({
      status: 3,
      stderr: expect.stringContaining(
        `Nobody serves the Workload API at unix://${cwd}/none.sock. Start \`writ agent\``,
      ),
    });
    expect(await run('identity', 'bundles', '--socket', 'tcp://127.0.0.1:1')).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('Nobody serves'),
    });
    expect(await run('identity', 'bundles', '--socket', 'tcp://localhost:1')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('must read unix:///path'),
    });
    expect(await run('identity', 'bundles', '--curl')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('--curl'),
    });
  });
});

describe('writ identity bundles, watch and validate', () => {
  it('show bundles by trust domain', async () => {
    const { run } = await beside();
    expect((await run('identity', 'bundles')).stdout).toMatch(
      /^TRUST DOMAIN +ROOTS +JWT KEYS\nspiffe:\/\/example.org +1 +1\n$/,
    );
    const { items } = JSON.parse((await run('identity', 'bundles', '-o', 'json')).stdout) as {
      items: { roots: string }[];
    };
    expect(items[0]?.roots).toContain('BEGIN CERTIFICATE');
  });

  it('spiffe 33: follow every change until Ctrl-C, each as the whole state', async () => {
    const { run, identities, printed, stop } = await beside();
    const watching = run('identity', 'watch', '-o', 'json');
    const lines = () => printed.stdout.split('\n').length - 1;
    while (lines() < 1) await new Promise((done) => setTimeout(done, 5));
    identities.sign(WEB);
    while (lines() < 2) await new Promise((done) => setTimeout(done, 5));
    identities.set([testEntry({ spiffeId: ORDERS })]);
    while (lines() < 3) await new Promise((done) => setTimeout(done, 5));
    stop.abort();
    expect((await watching).status).toBe(130);
    const states = printed.stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { items: { spiffeId: string; serialNumber: string }[] }).items);
    expect(states.slice(0, 2).map((items) => items.map(({ spiffeId }) => spiffeId))).toEqual([
      [WEB, ORDERS],
      [WEB, ORDERS],
    ]);
    expect(states[0]?.[0]?.serialNumber).not.toBe(states[1]?.[0]?.serialNumber);
    expect(states.at(-1)?.map(({ spiffeId }) => spiffeId)).toEqual([ORDERS]);
  });

  it('say of a token whether it is valid, with its claims', async () => {
    const identities = new TestIdentities();
    identities.set([testEntry({ spiffeId: WEB })]);
    const [grant] = identities.grantsFor([`unix:uid:${process.geteuid?.()}`]);
    if (grant === undefined) throw new Error('no grant');
    const { token } = await identities.jwt(grant, ['payments']);
    const agent = await startTestAgent({ identities });
    const { run } = await createTerminal({ env: { SPIFFE_ENDPOINT_SOCKET: agent.server.uri }, stdin: `${token}\n` });
    const valid = await run('identity', 'validate', '--audience', 'payments');
    expect(valid.status).toBe(0);
    expect(valid.stdout).toMatch(/^valid {2}spiffe:\/\/example.org\/ns\/shop\/sa\/web\n/);
    expect(JSON.parse(valid.stdout.slice(valid.stdout.indexOf('{')))).toMatchObject({
      aud: ['payments'],
      nested: { list: [1, true, null, 'x'] },
    });
    expect(await run('identity', 'validate', '--audience', 'other')).toMatchObject({
      status: 1,
      stdout: 'not valid  The JWT-SVID is not valid here.\n',
    });
    const json = await run('identity', 'validate', '--audience', 'other', '-o', 'json');
    expect([json.status, JSON.parse(json.stdout)]).toEqual([
      1,
      { valid: false, reason: 'The JWT-SVID is not valid here.' },
    ]);
    const empty = await createTerminal({ env: { SPIFFE_ENDPOINT_SOCKET: agent.server.uri } });
    expect(await empty.run('identity', 'validate', '--audience', 'a')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('no token on standard input'),
    });
  });
});

describe('writ identity why', () => {
  it('says what a process lacks, and ends with 1 when it has no identity', async () => {
    const { run, identities } = await withAdmin();
    const entry = testEntry({ spiffeId: WEB, selectors: [`unix:uid:${process.geteuid?.()}`, 'unix:path:/bin/other'] });
    identities.set([entry]);
    const without = await run('identity', 'why', '--pid', String(process.pid));
    expect(without.status).toBe(1);
    expect(without.stdout).toContain(`× process ${process.pid} (uid ${process.geteuid?.()}) has no identity`);
    expect(without.stdout).toContain(`missing unix:path:/bin/other; the process has unix:path:${process.execPath}`);
    identities.set([testEntry({ spiffeId: WEB })]);
    const having = await run('identity', 'why', '--pid', String(process.pid));
    expect(having).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^√ process .* has 1 identity\n\nIdentities\n {2}spiffe:/),
    });
    identities.set([], { connected: false });
    const nothing = await run('identity', 'why', '--pid', String(process.pid));
    expect(nothing.stdout).toMatch(
      /None of the 0 entries of this agent asks for any of these selectors.[\s\S]*The control plane is away/,
    );
    expect(JSON.parse((await run('identity', 'why', '--pid', String(process.pid), '-o', 'json')).stdout)).toMatchObject(
      { pid: process.pid, identities: [] },
    );
  });

  it('ends with 1 for a process that is none, 2 for what is no number, 3 without an agent', async () => {
    const { run, identities } = await withAdmin();
    identities.set([]);
    expect(await run('identity', 'why', '--pid', '4194304')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('There is no process 4194304 here.'),
    });
    expect(await run('identity', 'why', '--pid', 'init')).toMatchObject({ status: 2 });
    expect(await run('identity', 'why', '--pid', '1', '--admin-socket', 'none')).toMatchObject({
      status: 3,
      stderr: expect.stringContaining('(ENOENT)'),
    });
  });

  it('shows nothing that could rewrite a terminal, whatever a process calls its program', async () => {
    const { run, identities } = await withAdmin();
    identities.set([testEntry({ spiffeId: WEB, selectors: ['unix:path:/bin/\u001b[2Jx'] })]);
    expect((await run('identity', 'why', '--pid', String(process.pid))).stdout).not.toContain('\u001b[2J');
  });
});
