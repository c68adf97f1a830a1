import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { policyText } from '../edge/rest/world.ts';
import { policyKey } from '../support/policies.ts';
import type { Connected } from './server.ts';
import { connect } from './server.ts';

const labelled = (name: string, app: string) => policyText(name).replace('spec:', `  labels:\n    app: ${app}\nspec:`);

/** On the server: shop/a, shop/b (app=web), shop/c, bank/d. In the folder: shop/a, changed. */
async function setUp(o: Parameters<typeof connect>[0] = {}): Promise<Connected> {
  const cli = await connect(o);
  for (const source of [policyText('a'), labelled('b', 'web'), policyText('c'), policyText('d', { namespace: 'bank' })])
    await cli.rest.policies.put({ source, author: 'admin' });
  await mkdir(join(cli.cwd, 'mesh'));
  await writeFile(join(cli.cwd, 'mesh/a.yaml'), policyText('a', { path: '/new' }));
  return cli;
}

const names = async (cli: Connected) =>
  (await cli.rest.policies.list({ kind: 'AuthorizationPolicy' })).items.map(
    ({ namespace, name }) => `${namespace}/${name}`,
  );
const prune = ['apply', '-f', 'mesh', '--prune'];

describe('apply --prune', () => {
  it('makes a namespace be what the folder says, and leaves the others alone', async () => {
    const cli = await setUp();
    const { status, stdout } = await cli.run(...prune, '-n', 'shop', '--yes', '--reason', 'as in git');
    expect([status, stdout]).toEqual([0, 'policy/shop/a configured\npolicy/shop/b deleted\npolicy/shop/c deleted\n']);
    expect(await names(cli)).toEqual(['bank/d', 'shop/a']);
    expect((await cli.rest.deps.history.list()).items.slice(0, 3).map(({ reason }) => reason)).toEqual(
      Array(3).fill('as in git'),
    );
    expect((await cli.run(...prune, '-n', 'shop')).stdout).toBe('policy/shop/a unchanged\n');
  });

  it('goes only as far as labels, or both, or all of the mesh', async () => {
    const cli = await setUp();
    expect((await cli.run(...prune, '-l', 'app=web', '--yes')).status).toBe(0);
    expect(await names(cli)).toEqual(['bank/d', 'shop/a', 'shop/c']);
    await cli.run(...prune, '-l', 'app=web', '-n', 'shop', '--yes');
    expect(await names(cli)).toEqual(['bank/d', 'shop/a', 'shop/c']);
    await cli.run(...prune, '--all', '--yes');
    expect(await names(cli)).toEqual(['shop/a']);
  });

  it('asks first, with every name, and without a yes changes nothing at all', async () => {
    const cli = await setUp({ interactive: true, answer: 'n' });
    const { status, stdout, stderr } = await cli.run(...prune, '-n', 'shop');
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toBe('Not in the files:\n  policy/shop/b\n  policy/shop/c\nNot confirmed: nothing was changed.\n');
    expect(cli.questions).toEqual(['Apply, and delete 2 objects? [y/N] ']);
    expect((await cli.rest.deps.history.list()).items).toHaveLength(4);
  });

  it('needs --yes where there is no terminal', async () => {
    const cli = await setUp();
    const { status, stderr } = await cli.run(...prune, '-n', 'shop');
    expect([status, stderr]).toEqual([2, expect.stringContaining('would delete 2 objects: policy/shop/b')]);
    expect((await cli.rest.deps.history.list()).items).toHaveLength(4);
  });

  it('shows in a dry run what would go and what follows, and changes nothing', async () => {
    const cli = await setUp();
    const { status, stdout, stderr } = await cli.run(...prune, '-n', 'shop', '--dry-run');
    expect(status).toBe(0);
    expect(stdout).toContain('policy/shop/c deleted (dry run)\n');
    expect(stderr).toContain('policy/shop/c: Calls that only this policy allows are denied from then on.');
    expect((await cli.rest.deps.history.list()).items).toHaveLength(4);
    const shown = await cli.run(...prune, '-n', 'shop', '--curl');
    expect(shown.stdout).toMatch(/-X DELETE .*\/v1\/policies\/shop\/c/);
    expect((await cli.rest.deps.history.list()).items).toHaveLength(4);
  });

  it.each([
    [['--prune'], 'must be told how far'],
    [['--prune', '--all', '-n', 'shop'], 'must be told how far'],
    [['--prune', '-n', 'bank'], 'is of the namespace shop, and the scope is bank'],
    [['-n', 'shop'], 'Add --prune'],
    [['--all'], 'Add --prune'],
  ])('refuses %j', async (argv, message) => {
    const cli = await setUp();
    const { status, stderr } = await cli.run('apply', '-f', 'mesh', '--yes', ...argv);
    expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
    expect((await cli.rest.deps.history.list()).items).toHaveLength(4);
  });

  it('deletes nothing when a policy cannot be applied', async () => {
    const cli: Connected = await setUp({
      fetch: async (url, init) => (init?.method === 'PUT' ? Promise.reject(new TypeError('cut')) : fetch(url, init)),
    });
    expect((await cli.run(...prune, '-n', 'shop', '--yes')).status).toBe(3);
    expect(await names(cli)).toHaveLength(4);
  });

  it('does not delete what somebody changed since it was looked at', async () => {
    const cli: Connected = await setUp({
      fetch: async (url, init) => {
        if (init?.method === 'PUT')
          await cli.rest.policies.put({ source: policyText('c', { path: '/t' }), author: 'them', ifMatch: '*' });
        return fetch(url, init);
      },
    });
    const { status, stderr } = await cli.run(...prune, '-n', 'shop', '--yes');
    expect([status, stderr]).toEqual([5, expect.stringContaining('policy/shop/c: ')]);
    expect(await names(cli)).toEqual(['bank/d', 'shop/a', 'shop/c']);
  });

  it('deletes nothing for an empty folder', async () => {
    const cli = await setUp();
    await mkdir(join(cli.cwd, 'empty'));
    expect((await cli.run('apply', '-f', 'empty', '--prune', '--all', '--yes')).status).toBe(2);
    expect(await names(cli)).toHaveLength(4);
  });
});

describe('get -o yaml', () => {
  it.each([
    `\n\n# above\n${policyText('a')}\n\n`,
    policyText('a').trimEnd(),
    `---\n${policyText('a')}...\n`,
    policyText('a').replaceAll('\n', '\r\n'),
    `\uFEFF${policyText('a')}`,
  ])('gives the file byte for byte: %j', async (text) => {
    const cli = await connect();
    await cli.file('a.yaml', text);
    expect((await cli.run('apply', '-f', 'a.yaml')).status).toBe(0);
    const { stdout } = await cli.run('get', 'policy', 'shop/a', '-o', 'yaml');
    expect(stdout).toBe(text);
    await cli.file('b.yaml', stdout);
    expect((await cli.run('apply', '-f', 'b.yaml')).stdout).toBe('policy/shop/a unchanged\n');
    expect((await cli.run('diff', '-f', 'b.yaml')).status).toBe(0);
  });

  it('of a list is one text that apply takes back, changing nothing', async () => {
    const cli = await connect();
    for (const [name, text] of [
      ['a', policyText('a').trimEnd()],
      ['b', `\n\n# above\n${policyText('b')}\n`],
    ] as const) {
      await cli.file('one.yaml', text);
      await cli.run('apply', '-f', 'one.yaml');
      expect((await cli.rest.policies.get(policyKey('shop', name))).source).toBe(text);
    }
    await cli.file('all.yaml', (await cli.run('get', 'policies', '-o', 'yaml')).stdout);
    expect((await cli.run('diff', '-f', 'all.yaml')).stdout).toBe('');
    expect((await cli.run('apply', '-f', 'all.yaml')).stdout).toBe(
      'policy/shop/a unchanged\npolicy/shop/b unchanged\n',
    );
  });
});
