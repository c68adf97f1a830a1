import { describe, expect, it } from 'vitest';
import { connect } from './server.ts';

const spire = {
  entries: [
    {
      spiffe_id: 'spiffe://example.org/Blog',
      parent_id: 'spiffe://example.org/spire/agent/join_token/TokenBlog',
      selectors: [{ type: 'unix', value: 'uid:1111' }],
    },
    {
      spiffe_id: 'spiffe://example.org/Database',
      parent_id: 'spiffe://example.org/spire/server',
      selectors: [{ type: 'unix', value: 'uid:1111' }],
    },
  ],
};

describe('writ entry', () => {
  it('create says everything that can be said of an entry', async () => {
    const cli = await connect();
    const { status, stdout, stderr } = await cli.run(
      ...['entry', 'create', 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}', '--parent', 'control-plane'],
      ...['--selector', 'k8s:ns:shop', '--selector', 'a:b', '--within', 'shop', '--within', 'bank', '-l', 'app=web'],
      ...['--dns', '*.shop.example.org', '--dns', 'x', '--federates-with', 'other.org', '--hint', 'internal'],
      ...['--claim', 'role=reader', '--claim', 'level=3', '--claim', 'groups=["{{k8s.ns}}"]', '--claim', 'text="3"'],
      ...['--expires', '30d', '--x509-ttl', '30m', '--jwt-ttl', '1m', '-o', 'json'],
    );
    expect([status, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({
      spiffeId: 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}',
      parentId: 'spiffe://example.org/writ/control-plane',
      selectors: ['a:b', 'k8s:ns:shop'],
      namespaces: ['bank', 'shop'],
      labels: { app: 'web' },
      dnsNames: ['*.shop.example.org', 'x'],
      federatesWith: ['other.org'],
      hint: 'internal',
      jwtClaims: { role: 'reader', level: 3, groups: ['{{k8s.ns}}'], text: '3' },
      expiresAt: '2026-01-31T00:00:00.000Z',
      x509TtlSeconds: 1800,
      jwtTtlSeconds: 60,
    });
    const named = await cli.run('get', 'entry', '{{k8s.ns}}/{{k8s.sa}}', '-o', 'name');
    expect(named.stdout).toMatch(/^entry\//);
  });

  it('show tells everything, list finds by parent and by what is asked for', async () => {
    const cli = await connect();
    await cli.run('entry', 'create', 'shop/web', '--parent', '/nodes', '--selector', 'unix:uid:1', '--hint', 'h');
    await cli.run('entry', 'create', 'spiffe://example.org/other');
    const shown = await cli.run('entry', 'show', 'shop/web');
    expect(shown.stdout).toMatch(/^id: [0-9a-f-]+\nspiffeId: spiffe:.*\nparentId: spiffe:\/\/example.org\/nodes\n/);
    expect((await cli.run('entry', 'show', 'spiffe://example.org/other', '-o', 'name')).stdout).toMatch(/^entry\//);
    const wide = await cli.run('entry', 'list', '-o', 'wide');
    expect(wide.stdout).toMatch(/PARENT +SELECTORS +EXPIRES +HINT +REVISION\n/);
    expect(wide.stdout).toMatch(/\/nodes +unix:uid:1 +- +h +1\n/);
    const names = async (...args: string[]) => (await cli.run('entry', 'list', '-o', 'json', ...args)).stdout;
    const found = async (...args: string[]) =>
      JSON.parse(await names(...args)).items.map((item: { spiffeId: string }) => item.spiffeId);
    expect(await found('--parent', '/nodes')).toEqual(['spiffe://example.org/ns/shop/sa/web']);
    expect(await found('--parent', 'control-plane')).toEqual([]);
    expect(await found('--asks-for', 'unix:uid:1')).toHaveLength(1);
    expect(await found()).toHaveLength(2);
  });

  it('update changes what is given and nothing else, and clears what is told to', async () => {
    const cli = await connect();
    const made = await cli.run(
      ...['entry', 'create', 'shop/web', '--parent', '/nodes', '--selector', 'x:1', '-l', 'app=web', '--hint', 'h'],
      ...['--claim', 'a=1', '--expires', '2030-01-31T08:00:00+01:00', '--x509-ttl', '30m', '-o', 'json'],
    );
    const before = JSON.parse(made.stdout);
    const dry = await cli.run('entry', 'update', 'shop/web', '--selector', 'x:2', '--dry-run', '-o', 'json');
    expect([JSON.parse(dry.stdout).selectors, dry.stderr]).toEqual([['x:2'], 'Dry run: nothing was changed.\n']);
    const same = await cli.run('entry', 'update', 'shop/web', '--hint', 'h', '--dry-run');
    expect(same.stderr).toContain('nothing would change');

    const updated = await cli.run('entry', 'update', before.id, '--selector', 'x:2', '--jwt-ttl', '1m', '-o', 'json');
    const { warnings: _none, ...expected } = {
      ...before,
      selectors: ['x:2'],
      jwtTtlSeconds: 60,
      revision: 2,
      warnings: undefined,
    };
    expect(JSON.parse(updated.stdout)).toEqual(expected);
    const cleared = await cli.run(
      ...['entry', 'update', 'shop/web', '--clear', 'hint', '--clear', 'claim', '--clear', 'expires'],
      ...['--clear', 'label', '--clear', 'parent', '--clear', 'x509-ttl', '-o', 'json'],
    );
    expect(JSON.parse(cleared.stdout)).toMatchObject({
      hint: '',
      jwtClaims: null,
      expiresAt: null,
      labels: {},
      parentId: null,
      x509TtlSeconds: null,
      selectors: ['x:2'],
    });
  });

  it('update names the entry when the workload has several', async () => {
    const cli = await connect();
    for (const uid of ['1', '2']) await cli.run('entry', 'create', 'shop/web', '--selector', `unix:uid:${uid}`);
    const { status, stderr } = await cli.run('entry', 'update', 'shop/web', '--hint', 'x');
    expect(status).toBe(5);
    expect(stderr).toMatch(/shop\/web means 2 entries: [0-9a-f-]+, [0-9a-f-]+\. Name one of them\./);
  });

  it('delete asks, and deletes', async () => {
    const cli = await connect();
    await cli.run('entry', 'create', 'shop/web');
    expect((await cli.run('entry', 'delete', 'shop/web')).stderr).toMatch(/needs a confirmation/);
    expect((await cli.run('entry', 'delete', 'shop/web', '--dry-run')).stdout).toMatch(/deleted \(dry run\)\n$/);
    expect((await cli.run('entry', 'delete', 'shop/web', '--yes')).stdout).toMatch(/^entry\/[0-9a-f-]+ deleted\n$/);
    expect((await cli.rest.entries.list()).items).toEqual([]);
  });

  it('import takes a file of SPIRE, whole or not at all', async () => {
    const cli = await connect();
    await cli.file('spire.json', JSON.stringify(spire));
    const dry = await cli.run('entry', 'import', '-f', 'spire.json', '--dry-run');
    expect([dry.status, dry.stdout]).toEqual([0, '2 entries created, 0 unchanged (dry run)\n']);
    expect((await cli.rest.entries.list()).items).toEqual([]);
    const { status, stdout, stderr } = await cli.run('entry', 'import', '-f', 'spire.json');
    expect([status, stdout]).toEqual([0, '2 entries created, 0 unchanged\n']);
    expect(stderr.split('\n')).toEqual([
      'spire.json: spiffe://example.org/spire/agent/join_token/TokenBlog, the parent of one entry, is spiffe://example.org/writ/agent/join_token/TokenBlog here.',
      'spire.json: spiffe://example.org/spire/server, the parent of one entry, is spiffe://example.org/writ/control-plane here.',
      '',
    ]);
    expect((await cli.run('entry', 'import', '-f', 'spire.json')).stdout).toBe('0 entries created, 2 unchanged\n');

    const [first, ...others] = spire.entries;
    await cli.file('bad.json', JSON.stringify({ entries: [{ ...first, admin: true }, ...others] }));
    const bad = await cli.run('entry', 'import', '-f', 'bad.json');
    expect(bad.status).toBe(1);
    expect(bad.stderr).toMatch(/No entry was created.*\/entries\/0\/admin makes an administrator/);
  });

  it.each([
    [['entry', 'create', 'shop/web', '--claim', 'a'], '--claim must be key=value'],
    [['entry', 'create', 'shop/web', '--parent', 'nodes'], '--parent must be a SPIFFE ID, a path'],
    [['entry', 'create', 'shop/web', '--expires', 'soon'], '--expires must be a duration such as 30d or a time'],
    [['entry', 'create', 'shop/web', '--expires', '2030-01-31'], '--expires must be a duration such as 30d or a time'],
    [['entry', 'update', 'shop/web'], 'Nothing is to be changed'],
    [['entry', 'update', 'shop/web', '--clear', 'labels'], '--clear must be parent, label'],
    [['entry', 'import', '-f', 'nowhere.json'], 'Cannot read nowhere.json: there is no such file.'],
  ])('%j is wrong usage', async (args, message) => {
    const cli = await connect();
    const { status, stderr } = await cli.run(...args);
    expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
  });
});
