import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SidecarRecord } from '../../src/control/ledger/sidecar-records.ts';
import type { ProxyStatus } from '../../src/control/registry/proxies.ts';
import { policyText } from '../edge/rest/world.ts';
import { connect } from './server.ts';
import { createTerminal } from './terminal.ts';

function proxy(o: Partial<ProxyStatus> = {}): ProxyStatus {
  return {
    instanceId: 'i-1',
    spiffeId: 'spiffe://example.org/ns/shop/sa/web',
    version: '0.1.0',
    connected: true,
    state: 'synced',
    serving: true,
    desiredRevision: 4,
    desiredChange: null,
    staleSince: null,
    acknowledgedRevision: 4,
    acknowledgedAt: Date.UTC(2026, 0, 1),
    connectedSince: Date.UTC(2026, 0, 1),
    lastSeen: Date.UTC(2026, 0, 1),
    endpoints: ['127.0.0.1:9121'],
    lastError: null,
    ...o,
  };
}

describe('get', () => {
  it('prints a table with upper-case heads and no trailing space', async () => {
    const cli = await connect();
    await cli.file('p.yaml', `${policyText('b')}---\n${policyText('a', { action: 'DENY', namespace: 'bank' })}`);
    await cli.run('apply', '-f', 'p.yaml');
    await cli.rest.clock.advance(90_000);
    expect((await cli.run('get', 'policies')).stdout).toBe(
      [
        'NAMESPACE  NAME  ACTION  RULES  SELECTOR  REVISION  UPDATED  BY',
        'bank       a     DENY    1      -         2         90s      admin',
        'shop       b     ALLOW   1      -         1         90s      admin',
        '',
      ].join('\n'),
    );
    expect((await cli.run('get', 'policy', '-n', 'bank', '-o', 'name')).stdout).toBe('policy/bank/a\n');
  });

  it('with -o json prints the objects of the API', async () => {
    const cli = await connect();
    await cli.file('p.yaml', policyText('a'));
    await cli.run('apply', '-f', 'p.yaml');
    const one = JSON.parse((await cli.run('get', 'policy', 'shop/a', '-o', 'json')).stdout);
    const list = JSON.parse((await cli.run('get', 'policies', '-o', 'json')).stdout);
    const api = (await cli.rest.request({ method: 'GET', url: '/v1/policies/shop/a' })).json();
    expect(one).toEqual(api);
    expect(list).toEqual({ items: [api] });
  });

  it('says on standard error that there is nothing', async () => {
    const cli = await connect();
    expect(await cli.run('get', 'entries')).toEqual({ status: 0, stdout: '', stderr: 'Nothing found.\n' });
  });

  it('reads every page', async () => {
    const cli = await connect();
    await Promise.all(
      Array.from({ length: 3 }, (_, i) =>
        cli.rest.entries.create({
          spiffeId: `spiffe://example.org/ns/shop/sa/s${i}`,
          selectors: [],
          labels: {},
          x509TtlSeconds: null,
          jwtTtlSeconds: null,
        }),
      ),
    );
    const pages: string[] = [];
    const small = await connect({
      fetch: (url, init) => {
        const paged = new URL(String(url));
        if (paged.searchParams.has('limit')) paged.searchParams.set('limit', '1');
        pages.push(paged.search);
        return fetch(paged, init);
      },
    });
    Object.assign(small.world.env, { WRIT_ADDR: cli.url });
    expect((await small.run('get', 'entries', '-o', 'name')).stdout.trim().split('\n')).toHaveLength(3);
    expect(pages.length).toBeGreaterThan(2);
  });

  it('finds an entry by its workload as well as by its id, and by neither says so', async () => {
    const cli = await connect();
    const created = await cli.run('entry', 'create', 'shop/web', '-l', 'app=web', '--x509-ttl', '30m', '-o', 'json');
    const { id } = JSON.parse(created.stdout);
    expect((await cli.run('get', 'entry', 'shop/web', '-o', 'name')).stdout).toBe(`entry/${id}\n`);
    expect((await cli.run('get', 'entry', id, '-o', 'name')).stdout).toBe(`entry/${id}\n`);
    expect((await cli.run('entry', 'list')).stdout).toMatch(
      /spiffe:\/\/example\.org\/ns\/shop\/sa\/web +app=web +30m +default/,
    );
    const missing = await cli.run('get', 'entry', 'shop/nobody');
    expect([missing.status, missing.stderr]).toEqual([
      1,
      'error: There is no entry "shop/nobody"; it is named by ID or NAMESPACE/SERVICE. List what there is: writ get entries\n  more: docs/errors.md#not-found\n',
    ]);
  });

  it('tells one finding of the server once', async () => {
    const cli = await connect();
    const { status, stderr } = await cli.run('entry', 'create', 'shop/web', '--x509-ttl', '1s');
    expect(status).toBe(1);
    const [error, ...rest] = stderr.split('\n');
    expect(error).toMatch(/^error: .*x509TtlSeconds/);
    expect(rest).toEqual([
      expect.stringMatching(/^ {2}request id \S+$/),
      `  more: ${cli.url}/docs/errors#invalid-document`,
      '',
    ]);
  });

  it('makes text of others harmless for the terminal', async () => {
    const cli = await connect();
    cli.rest.proxies.push(proxy({ state: 'rejected', lastError: 'oh\u001b[2J\u202eno\n' }));
    const { stdout } = await cli.run('get', 'proxies');
    expect(stdout).toContain('oh\\u{1b}[2J\\u{202e}no\\u{a}');
    expect(stdout.split('\n')).toHaveLength(3);
  });

  it('says of a sidecar that is silent since when, and how often records are missing', async () => {
    const record = new Map<string, SidecarRecord>();
    const cli = await connect({ deps: { records: { of: async () => record } } });
    const now = cli.rest.clock.now();
    cli.rest.proxies.push(proxy());
    const { instanceId } = proxy();
    const fresh = { heardAt: now, staleSince: null, epoch: 1, gaps: 0 };
    for (const [known, text] of [
      [fresh, / fresh /],
      [{ ...fresh, staleSince: now - 300_000, gaps: 1 }, / SILENT for \d+m, 1 gap /],
      [{ ...fresh, gaps: 2 }, / fresh, 2 gaps /],
    ] as const) {
      record.set(instanceId, known);
      expect((await cli.run('proxies')).stdout).toMatch(text);
    }
  });

  it('shows more columns with -o wide', async () => {
    const cli = await connect();
    cli.rest.proxies.push(proxy());
    expect((await cli.run('get', 'proxies')).stdout).not.toContain('SPIFFE-ID');
    expect((await cli.run('get', 'proxies', '-o', 'wide')).stdout).toMatch(
      /ERROR +SPIFFE-ID\n.* spiffe:\/\/example\.org\//,
    );
  });

  it('says which of several sidecars of a workload can be meant', async () => {
    const cli = await connect();
    cli.rest.proxies.push(proxy(), proxy({ instanceId: 'i-2' }));
    const { status, stderr } = await cli.run('get', 'proxy', 'shop/web');
    expect(status).toBe(5);
    expect(stderr).toBe(
      'error: shop/web means 2 proxies: i-1, i-2. Name one of them.\n  more: docs/errors.md#conflict\n',
    );
  });

  it.each([
    [
      ['get', 'polices'],
      'There is no kind "polices"; there are policies, request-authentications, peer-authentications, rate-limits, entries, proxies, quarantines, join-tokens, nodes, federations, tokens. Did you mean policies?',
    ],
    [['get', 'policies', '-o', 'xml'], '-o must be table, wide, json, yaml or name, not "xml".'],
    [['get', 'policy', '../entries'], '"../entries" names no policy: "." and ".." are no names. Give NAMESPACE/NAME.'],
    [['get', 'policy', 'shop/.'], '"." and ".." are no names'],
    [['delete', 'policy', 'shop/..', '--yes'], '"." and ".." are no names'],
    [['get', 'policies', '--addr', 'nonsense'], 'The address "nonsense" is not a URL such as http://127.0.0.1:8443.'],
    [['get'], "missing required argument 'kind'"],
    [['gte', 'policies'], "unknown command 'gte'"],
    [['get', 'policies', '--colour'], "unknown option '--colour'"],
    [['--color', 'pink', 'get', 'policies'], '--color must be auto, always or never'],
  ])('%j is wrong usage', async (argv, message) => {
    const cli = await createTerminal({ env: { WRIT_ADDR: 'http://127.0.0.1:1' } });
    const { status, stdout, stderr } = await cli.run(...argv);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain(message);
  });
});

describe('delete', () => {
  it('without a terminal needs --yes', async () => {
    const cli = await connect();
    await cli.file('p.yaml', policyText('a'));
    await cli.run('apply', '-f', 'p.yaml');
    const refused = await cli.run('delete', 'policy', 'shop/a');
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('Add --yes.');
    expect(await cli.run('delete', 'policy', 'shop/a', '--yes')).toEqual({
      status: 0,
      stdout: 'policy/shop/a deleted\n',
      stderr: '',
    });
    expect((await cli.run('delete', 'policy', 'shop/a', '--yes')).status).toBe(1);
  });

  it('on a terminal asks, and keeps what is not confirmed', async () => {
    const cli = await connect({ interactive: true, answer: 'n' });
    await cli.file('p.yaml', policyText('a'));
    await cli.run('apply', '-f', 'p.yaml');
    const kept = await cli.run('delete', 'policy', 'shop/a');
    expect(cli.questions).toEqual(['Delete policy/shop/a? [y/N] ']);
    expect(kept.status).toBe(1);
    expect((await cli.rest.policies.list({ kind: 'AuthorizationPolicy', limit: 1 })).items).toHaveLength(1);
  });

  it('deletes an entry by its workload and a join token by its id', async () => {
    const cli = await connect();
    await cli.run('entry', 'create', 'shop/web');
    await cli.run('join-token', 'create', 'shop/web');
    const tokenId = (await cli.run('get', 'join-tokens', '-o', 'name')).stdout.trim().replace('join-token/', '');
    expect((await cli.run('delete', 'join-token', tokenId, '--yes')).stdout).toBe(`join-token/${tokenId} deleted\n`);
    expect((await cli.run('delete', 'entry', 'shop/web', '--yes')).stdout).toMatch(/^entry\/[0-9a-f-]+ deleted\n$/);
    expect((await cli.run('get', 'entries', '-o', 'name')).stdout).toBe('');
  });

  it('with --curl prints the call that deletes the revision that is there, asks nothing and deletes nothing', async () => {
    const cli = await connect();
    await cli.file('p.yaml', policyText('a'));
    await cli.run('apply', '-f', 'p.yaml');
    const { status, stdout } = await cli.run('--curl', 'delete', 'policy', 'shop/a');
    expect(status).toBe(0);
    expect(stdout).toContain(`-X DELETE`);
    expect(stdout).toContain(`-H 'if-match: "1"'`);
    expect(cli.questions).toEqual([]);
    expect((await cli.rest.policies.list({ kind: 'AuthorizationPolicy', limit: 1 })).items).toHaveLength(1);
  });

  it('deletes only the revision that was looked at', async () => {
    const racing = { armed: false };
    const cli = await connect({
      fetch: async (url, init) => {
        if (racing.armed && init?.method === 'DELETE') {
          racing.armed = false;
          await cli.rest.policies.put({ source: policyText('a', { path: '/theirs' }), author: 'them', ifMatch: '*' });
        }
        return fetch(url, init);
      },
    });
    await cli.file('p.yaml', policyText('a'));
    await cli.run('apply', '-f', 'p.yaml');
    racing.armed = true;
    expect((await cli.run('delete', 'policy', 'shop/a', '--yes')).status).toBe(5);
  });

  it('does not delete a sidecar', async () => {
    const cli = await connect();
    const { status, stderr } = await cli.run('delete', 'proxy', 'i-1', '--yes');
    expect(status).toBe(2);
    expect(stderr).toContain('A proxy cannot be deleted');
  });
});

describe('--dry-run', () => {
  it('of delete asks nothing, tells what would follow, and deletes nothing', async () => {
    const cli = await connect();
    await cli.file('p.yaml', policyText('a'));
    await cli.run('apply', '-f', 'p.yaml');
    await cli.run('entry', 'create', 'shop/web');
    await cli.run('join-token', 'create', 'shop/web');
    const token = (await cli.run('get', 'join-tokens', '-o', 'name')).stdout.trim().replace('join-token/', '');
    for (const [kind, reference] of [
      ['policy', 'shop/a'],
      ['entry', 'shop/web'],
      ['join-token', token],
    ] as const) {
      const { status, stdout, stderr } = await cli.run('delete', kind, reference, '--dry-run');
      expect([status, stdout]).toEqual([0, expect.stringMatching(/^\S+ deleted \(dry run\)\n$/)]);
      if (kind === 'policy')
        expect(stderr).toBe('policy/shop/a: Calls that only this policy allows are denied from then on.\n');
      expect((await cli.run('get', kind, reference, '-o', 'name')).status).toBe(0);
    }
    expect(cli.questions).toEqual([]);
  });

  it('of entry create and join-token create shows what would be, and makes neither entry, token nor file', async () => {
    const cli = await connect();
    const entry = await cli.run('entry', 'create', 'shop/web', '-l', 'app=web', '--dry-run', '-o', 'json');
    expect(JSON.parse(entry.stdout)).toMatchObject({ labels: { app: 'web' } });
    expect([entry.status, entry.stderr]).toEqual([0, 'Dry run: nothing was changed.\n']);
    expect((await cli.run('get', 'entries', '-o', 'name')).stdout).toBe('');
    expect((await cli.run('entry', 'create', 'shop/web', '--x509-ttl', '1s', '--dry-run')).status).toBe(1);

    await cli.run('entry', 'create', 'shop/web');
    expect(await cli.run('join-token', 'create', 'shop/web', '--dry-run', '--out', 'join')).toEqual({
      status: 0,
      stdout: '',
      stderr: 'Dry run: a token for shop/web can be made; none was.\n',
    });
    await expect(stat(join(cli.cwd, 'join'))).rejects.toThrow('ENOENT');
    expect((await cli.run('get', 'join-tokens', '-o', 'name')).stdout).toBe('');
    const shown = await cli.run('--curl', 'join-token', 'create', 'shop/web', '--dry-run');
    expect(shown.stdout).toContain('/v1/join-tokens?dryRun=true');
  });
});

describe('-l', () => {
  it('lists only what has the labels, of every kind that has labels', async () => {
    const cli = await connect();
    await cli.run('entry', 'create', 'shop/web', '-l', 'app=web', '-l', 'tier=front');
    await cli.run('entry', 'create', 'shop/db', '-l', 'app=db');
    await cli.file(
      'p.yaml',
      `${policyText('a').replace('  namespace', '  labels: {team: x}\n  namespace')}---\n${policyText('b')}`,
    );
    await cli.run('apply', '-f', 'p.yaml');
    for (const argv of [
      ['get', 'entries'],
      ['entry', 'list'],
    ]) {
      const { stdout } = await cli.run(...argv, '-l', 'app=web,tier!=back');
      expect(stdout).toContain('/sa/web');
      expect(stdout).not.toContain('/sa/db');
    }
    expect((await cli.run('get', 'policies', '--selector', 'team=x', '-o', 'name')).stdout).toBe('policy/shop/a\n');
    expect((await cli.run('get', 'policies', '-l', 'team=y')).stderr).toBe('Nothing found.\n');
  });

  it.each([
    [['get', 'proxies', '-l', 'a=b'], 'Proxies have no labels'],
    [['get', 'policies', 'shop/a', '-l', 'a=b'], '-n and -l choose among all objects'],
    [['get', 'policies', 'shop/a', '-n', 'shop'], '-n and -l choose among all objects'],
  ])('%j is wrong usage', async (argv, message) => {
    const cli = await connect();
    const { status, stderr } = await cli.run(...argv);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });

  it('that is no selector is refused by the server, and the place is told', async () => {
    const cli = await connect();
    const { status, stdout, stderr } = await cli.run('get', 'entries', '-l', '=x');
    expect([status, stdout]).not.toEqual([0, '']);
    expect(stderr).toMatch(/^error: .*\n(.*\n)* {2}request id /);
  });
});

describe('join-token create', () => {
  it('prints the token and nothing else on standard output', async () => {
    const cli = await connect();
    await cli.run('entry', 'create', 'shop/web');
    const { stdout, stderr } = await cli.run('join-token', 'create', 'shop/web', '--ttl', '5m');
    expect(stdout).toMatch(/^\S{20,}\n$/);
    expect(stderr).toBe('Good for one enrollment as shop/web, expires in 5m.\n');
  });

  it('writes it to a new file of mode 0600, and never over another', async () => {
    const cli = await connect();
    await cli.run('entry', 'create', 'shop/web');
    const { stdout, status } = await cli.run('join-token', 'create', 'shop/web', '--out', 'join');
    expect([status, stdout]).toEqual([0, '']);
    expect((await stat(join(cli.cwd, 'join'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(cli.cwd, 'join'), 'utf8')).toMatch(/^\S{20,}\n$/);
    const again = await cli.run('join-token', 'create', 'shop/web', '--out', 'join');
    expect(again.status).toBe(2);
    expect(again.stderr).toBe(
      `error: ${join(cli.cwd, 'join')} exists already, and a token is never written over a file. Name another with --out, or delete that one.\n  more: docs/errors.md#usage\n`,
    );
    expect((await cli.run('get', 'join-tokens', '-o', 'name')).stdout.trim().split('\n')).toHaveLength(1);
  });

  it('with --curl prints the call that makes the token, and makes no file', async () => {
    const cli = await connect();
    await cli.run('entry', 'create', 'shop/web');
    const { status, stdout } = await cli.run('--curl', 'join-token', 'create', 'shop/web', '--out', 'join');
    expect(status).toBe(0);
    expect(stdout).toMatch(/-X POST .*entryId.*\/v1\/join-tokens/);
    await expect(stat(join(cli.cwd, 'join'))).rejects.toThrow('ENOENT');
  });

  it.each([
    [['join-token', 'create', 'shop/web', '--ttl', '25h'], '--ttl must be a duration from 1s to 24h'],
    [['entry', 'create', 'web'], 'neither NAMESPACE/SERVICE nor a SPIFFE ID'],
    [['entry', 'create', 'shop/web', '-l', 'app'], '--label must be key=value'],
    [['entry', 'create', 'shop/web', '-l', 'a=1', '-l', 'a=2'], 'The label a is given twice.'],
  ])('%j is wrong usage', async (argv, message) => {
    const cli = await createTerminal({ env: { WRIT_ADDR: 'http://127.0.0.1:1' } });
    const { status, stderr } = await cli.run(...argv);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });
});
