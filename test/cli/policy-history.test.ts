import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { policyText } from '../edge/rest/world.ts';
import { policyKey } from '../support/policies.ts';
import { itWithTools } from '../support/tools.ts';
import type { Connected } from './server.ts';
import { connect } from './server.ts';

/** A policy that was put twice, with reasons. */
async function changedTwice(o: Parameters<typeof connect>[0] = {}): Promise<Connected> {
  const cli = await connect(o);
  await cli.file('web.yaml', policyText('web', { path: '/a' }));
  await cli.run('apply', '-f', 'web.yaml', '--reason', 'TICKET-1');
  await cli.file('web.yaml', policyText('web', { path: '/b' }));
  await cli.run('apply', '-f', 'web.yaml', '--reason', 'TICKET-2');
  return cli;
}

const source = async (cli: Connected) => (await cli.rest.policies.get(policyKey('shop', 'web'))).source;

describe('policy history', () => {
  it('shows who changed what and why, newest first', async () => {
    const cli = await changedTwice();
    await cli.run('policy', 'rollback', 'shop/web', '--to', '1', '--reason', 'it broke', '--yes');
    await cli.run('delete', 'policy', 'shop/web', '--yes', '--reason', 'not needed');
    const { status, stdout, stderr } = await cli.run('policy', 'history', 'shop/web');
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout.replaceAll(/ +/g, ' ').split('\n')).toEqual([
      'REVISION OBJECT CHANGE AGE AUTHOR REASON',
      '4 shop/web deleted 0s admin not needed',
      '3 shop/web rolled back to 1 0s admin it broke',
      '2 shop/web changed 0s admin TICKET-2',
      '1 shop/web created 0s admin TICKET-1',
      '',
    ]);
    expect((await cli.run('policy', 'history', 'shop/web', '--limit', '1', '-o', 'name')).stdout).toBe(
      'policy/shop/web@4\n',
    );
  });

  it('of all policies, of a namespace, of an author, of a time', async () => {
    const cli = await changedTwice();
    await cli.rest.policies.put({ source: policyText('ledger', { namespace: 'bank' }), author: 'eve\u001b[2J' });
    const { stdout } = await cli.run('policy', 'history');
    expect(stdout).toContain('bank/ledger');
    expect(stdout).toContain('eve\\u{1b}[2J');
    const names = async (...argv: string[]) => (await cli.run('policy', 'history', '-o', 'name', ...argv)).stdout;
    expect(await names('-n', 'bank')).toBe('policy/bank/ledger@3\n');
    expect(await names('--author', 'admin', '--limit', '1')).toBe('policy/shop/web@2\n');
    await cli.rest.clock.advance(600_000);
    expect(await names('--since', '5m')).toBe('');
  });

  it.each([
    [['shop'], 2, 'names no policy'],
    [['shop/../x'], 2, 'names no policy'],
    [['shop/none'], 1, 'There has never been a policy shop/none.'],
    [['shop/web', '-n', 'shop'], 2, 'one is named already'],
    [['--limit', '0'], 2, '--limit must be a whole number'],
  ])('refuses %j', async (argv, expected, message) => {
    const cli = await connect();
    const { status, stderr } = await cli.run('policy', 'history', ...argv);
    expect(stderr).toContain(message);
    expect(status).toBe(expected);
  });
});

describe('policy diff', () => {
  it('shows the last change by itself, and any other by number: status 1', async () => {
    const cli = await changedTwice();
    const last = await cli.run('policy', 'diff', 'shop/web');
    expect([last.status, last.stderr]).toEqual([1, '']);
    expect(last.stdout).toMatch(/^--- shop\/web@1\n\+\+\+ shop\/web@2\n@@ [-+,0-9 ]+ @@\n/);
    expect(last.stdout).toMatch(/^-.*"\/a".*\n\+.*"\/b"/m);
    const back = await cli.run('policy', 'diff', 'shop/web', '--from', '2', '--to', '1');
    expect(back.stdout).toMatch(/^-.*"\/b".*\n\+.*"\/a"/m);
    const first = await cli.run('policy', 'diff', 'shop/web', '--to', '1');
    expect(first.stdout).toMatch(/^--- \/dev\/null\n\+\+\+ shop\/web@1\n/);
  });

  it('is empty with status 0 where nothing differs, and above 1 where it fails', async () => {
    const cli = await changedTwice();
    expect(await cli.run('policy', 'diff', 'shop/web', '--from', '2', '--to', '2')).toMatchObject({
      status: 0,
      stdout: '',
    });
    for (const argv of [['shop/none'], ['shop/web', '--to', '9'], ['shop/web', '--from', 'x'], ['shop']])
      expect((await cli.run('policy', 'diff', ...argv)).status).toBeGreaterThan(1);
  });

  it('on a terminal has colours, and nothing that could steer it', async () => {
    const cli = await connect({ stdoutIsTerminal: true, env: { TERM: 'xterm' } });
    await cli.rest.policies.put({ source: `# \u202e\u009b2J\n${policyText('web')}`, author: 'admin' });
    const { stdout } = await cli.run('policy', 'diff', 'shop/web');
    expect(stdout).toContain('\u001b[32m+# \\u{202e}\\u{9b}2J\u001b[39m\n');
  });
});

describe('diff', () => {
  it('shows what apply would change: 0 for nothing, 1 for differences', async () => {
    const cli = await changedTwice();
    expect(await cli.run('diff', '-f', 'web.yaml')).toEqual({ status: 0, stdout: '', stderr: '' });
    await cli.file('web.yaml', policyText('web', { path: '/c' }));
    await cli.file('new.yaml', policyText('new'));
    const { status, stdout } = await cli.run('diff', '-f', 'web.yaml', '-f', 'new.yaml');
    expect(status).toBe(1);
    expect(stdout).toMatch(/^--- shop\/web@2\n\+\+\+ web\.yaml\n/);
    expect(stdout).toMatch(/^-.*"\/b".*\n\+.*"\/c"/m);
    expect(stdout).toMatch(/^--- \/dev\/null\n\+\+\+ new\.yaml\n/m);
    const pruned = await cli.run('diff', '-f', 'new.yaml', '--prune', '-n', 'shop');
    expect(pruned.stdout).toMatch(/^--- shop\/web@2\n\+\+\+ \/dev\/null\n/m);
    expect(await source(cli)).toBe(policyText('web', { path: '/b' }));
  });

  it('fails above 1 for files that are wrong or not there, and for a server that is away', async () => {
    const cli = await connect();
    await cli.file('bad.yaml', policyText('web').replace('rules:', 'rulez:'));
    await cli.file('good.yaml', policyText('web'));
    const bad = await cli.run('diff', '-f', 'bad.yaml');
    expect(bad.stderr).toMatch(/nothing was compared[\s\S]*bad\.yaml:8:3|bad\.yaml:8:3/);
    expect(bad.status).toBe(2);
    expect((await cli.run('diff', '-f', 'none.yaml')).status).toBe(2);
    expect((await cli.run('diff', '-f', 'good.yaml', '--addr', 'http://127.0.0.1:9')).status).toBe(3);
  });

  itWithTools(['patch'], 'is what patch makes the old text into the new one with', async () => {
    const cli = await changedTwice();
    await cli.file('web.yaml', `# above\n${policyText('web', { path: '/c' })}# no newline`);
    await cli.file('old.yaml', await source(cli));
    await cli.file('change', (await cli.run('diff', '-f', 'web.yaml')).stdout);
    await promisify(execFile)('patch', ['old.yaml', 'change'], { cwd: cli.cwd });
    expect(await readFile(join(cli.cwd, 'old.yaml'), 'utf8')).toBe(await readFile(join(cli.cwd, 'web.yaml'), 'utf8'));
  });
});

describe('policy rollback', () => {
  const back = ['policy', 'rollback', 'shop/web', '--to', '1', '--reason', 'it broke'];

  it('shows the difference, asks, and gives the old content a new revision', async () => {
    const cli = await changedTwice({ interactive: true, answer: 'y' });
    const { status, stdout, stderr } = await cli.run(...back);
    expect([status, stdout]).toEqual([0, 'policy/shop/web rolled back to revision 1, as revision 3\n']);
    expect(stderr).toMatch(/^-.*"\/b".*\n\+.*"\/a"/m);
    expect(cli.questions).toEqual(['Roll policy/shop/web back to revision 1? [y/N] ']);
    expect(await source(cli)).toBe(policyText('web', { path: '/a' }));
    expect((await cli.run(...back, '--yes')).stdout).toBe('policy/shop/web is like revision 1 already\n');
  });

  it('leaves it as it is without a yes, in a dry run, and with --curl', async () => {
    const cli = await changedTwice({ interactive: true, answer: '' });
    expect(await cli.run(...back)).toMatchObject({ status: 1, stdout: '' });
    expect((await cli.run(...back, '--dry-run')).stdout).toBe('policy/shop/web rolled back to revision 1 (dry run)\n');
    const { stdout } = await cli.run(...back, '--curl');
    expect(stdout).toContain('/v1/policies/shop/web:rollback');
    expect(stdout).toContain(`If-Match: "2"`.toLowerCase());
    expect(await source(cli)).toBe(policyText('web', { path: '/b' }));
  });

  it('asks nobody where there is no terminal, and says so', async () => {
    const cli = await changedTwice();
    const { status, stderr } = await cli.run(...back);
    expect([status, stderr]).toEqual([2, expect.stringContaining('Add --yes')]);
  });

  it('brings a deleted policy back', async () => {
    const cli = await changedTwice();
    await cli.run('delete', 'policy', 'shop/web', '--yes');
    expect((await cli.run(...back, '--yes')).status).toBe(0);
    expect(await source(cli)).toBe(policyText('web', { path: '/a' }));
  });

  it('is refused when somebody changes the policy meanwhile', async () => {
    const cli: Connected = await changedTwice({
      fetch: async (url, init) => {
        if (init?.method === 'POST')
          await cli.rest.policies.put({ source: policyText('web', { path: '/theirs' }), author: 'them', ifMatch: '*' });
        return fetch(url, init);
      },
    });
    const { status, stderr } = await cli.run(...back, '--yes');
    expect([status, stderr]).toEqual([5, expect.stringContaining('somebody changed it')]);
    expect(await source(cli)).toContain('/theirs');
  });
});

describe('a reason', () => {
  it('is kept for policies only, and refused where it could steer a terminal', async () => {
    const cli = await changedTwice();
    await cli.run('entry', 'create', 'shop/web');
    const { status, stderr } = await cli.run('delete', 'entry', 'shop/web', '--yes', '--reason', 'x');
    expect([status, stderr]).toEqual([2, expect.stringContaining('has no history')]);
    const refused = await cli.run('apply', '-f', 'web.yaml', '--reason', 'a\u001b[2J');
    expect(refused.status).toBe(0);
    await cli.file('web.yaml', policyText('web', { path: '/c' }));
    expect((await cli.run('apply', '-f', 'web.yaml', '--reason', 'a\u001b[2J')).status).toBe(2);
    expect(await source(cli)).toBe(policyText('web', { path: '/b' }));
  });
});
