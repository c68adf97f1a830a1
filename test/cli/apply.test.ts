import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { policyText } from '../edge/rest/world.ts';
import { policyKey } from '../support/policies.ts';
import { connect } from './server.ts';
import { createTerminal } from './terminal.ts';

describe('apply', () => {
  it('says created, unchanged, configured; each change is a new revision', async () => {
    const cli = await connect();
    await cli.file('a.yaml', policyText('a'));
    expect(await cli.run('apply', '-f', 'a.yaml')).toEqual({
      status: 0,
      stdout: 'policy/shop/a created\n',
      stderr: '',
    });
    expect((await cli.run('apply', '-f', 'a.yaml')).stdout).toBe('policy/shop/a unchanged\n');
    await cli.file('a.yaml', policyText('a', { path: '/other' }));
    expect((await cli.run('apply', '-f', 'a.yaml')).stdout).toBe('policy/shop/a configured\n');
    expect((await cli.rest.policies.get(policyKey('shop', 'a'))).source).toContain('/other');
  });

  it('takes several documents, files, a directory and standard input', async () => {
    const cli = await connect({ stdin: policyText('from-stdin') });
    await mkdir(join(cli.cwd, 'dir'));
    await writeFile(join(cli.cwd, 'dir/2.yml'), `${policyText('c')}---\n${policyText('b')}`);
    await writeFile(join(cli.cwd, 'dir/1.yaml'), policyText('d'));
    await writeFile(join(cli.cwd, 'dir/readme.md'), 'not a policy');
    const { stdout, status } = await cli.run('apply', '-f', 'dir', '-f', '-');
    expect(stdout.split('\n')).toEqual([
      'policy/shop/d created',
      'policy/shop/c created',
      'policy/shop/b created',
      'policy/shop/from-stdin created',
      '',
    ]);
    expect(status).toBe(0);
  });

  it('keeps comments and order: the source on the server is the document of the file', async () => {
    const cli = await connect();
    const text = `# why this is here\n${policyText('a')}# after\n`;
    await cli.file('a.yaml', text);
    await cli.run('apply', '-f', 'a.yaml');
    expect((await cli.run('get', 'policy', 'shop/a', '-o', 'yaml')).stdout).toBe(text);
    expect((await cli.run('apply', '-f', 'a.yaml')).stdout).toBe('policy/shop/a unchanged\n');
  });

  it('tells every finding of every file with file, line and column, and then sends nothing', async () => {
    const cli = await connect();
    await cli.file('good.yaml', policyText('good'));
    await cli.file('bad.yaml', `${policyText('x')}---\n${policyText('y').replace('methods:', 'method:')}`);
    await cli.file('worse.yaml', policyText('z').replace('rules:', 'rulez:'));
    const { status, stdout, stderr } = await cli.run('apply', '-f', 'good.yaml', '-f', 'bad.yaml', '-f', 'worse.yaml');
    expect(status).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^error: 2 findings; nothing was applied\.\n/);
    expect(stderr).toMatch(/^ {2}bad\.yaml:30:13: .*method/m);
    expect(stderr).toMatch(/^ {2}worse\.yaml:8:3: .*rulez/m);
    expect((await cli.rest.policies.list({ kind: 'AuthorizationPolicy', limit: 10 })).items).toEqual([]);
  });

  it('refuses the same policy in two files', async () => {
    const cli = await connect();
    await cli.file('a.yaml', policyText('a'));
    await cli.file('b.yaml', policyText('a'));
    const { status, stderr } = await cli.run('apply', '-f', 'a.yaml', '-f', 'b.yaml');
    expect(status).toBe(1);
    expect(stderr).toContain('b.yaml:1:1: policy/shop/a stands here again; it is also at a.yaml:1.');
  });

  it('never overwrites what somebody else changed since it was read', async () => {
    const racing = { armed: false };
    const cli = await connect({
      fetch: async (url, init) => {
        if (racing.armed && init?.method === 'PUT') {
          racing.armed = false;
          await cli.rest.policies.put({ source: policyText('a', { path: '/theirs' }), author: 'them', ifMatch: '*' });
        }
        return fetch(url, init);
      },
    });
    await cli.file('a.yaml', policyText('a'));
    await cli.run('apply', '-f', 'a.yaml');
    await cli.file('a.yaml', policyText('a', { path: '/mine' }));
    racing.armed = true;
    const { status, stderr } = await cli.run('apply', '-f', 'a.yaml');
    expect(status).toBe(5);
    expect(stderr).toContain('Somebody else changed it in the meantime');
    expect((await cli.rest.policies.get(policyKey('shop', 'a'))).source).toContain('/theirs');
  });

  it('with --dry-run lets the server check and changes nothing', async () => {
    const cli = await connect();
    await cli.file('a.yaml', policyText('a'));
    expect((await cli.run('apply', '--dry-run', '-f', 'a.yaml')).stdout).toBe('policy/shop/a created (dry run)\n');
    expect((await cli.rest.policies.list({ kind: 'AuthorizationPolicy', limit: 10 })).items).toEqual([]);
  });

  it('with --dry-run shows what is wrong all the same, with request id and page', async () => {
    const cli = await connect({
      fetch: (url, init) =>
        init?.method === 'PUT'
          ? Promise.resolve(
              Response.json(
                { code: 'forbidden', detail: 'No.', requestId: 'r-1', type: '/docs/errors#forbidden' },
                { status: 403 },
              ),
            )
          : fetch(url, init),
    });
    await cli.file('a.yaml', policyText('a'));
    expect(await cli.run('apply', '--dry-run', '-f', 'a.yaml')).toEqual({
      status: 4,
      stdout: '',
      stderr: `error: policy/shop/a (a.yaml:1): No.\n  request id r-1\n  more: ${cli.url}/docs/errors#forbidden\n`,
    });
    await cli.file('b.yaml', policyText('b'));
    const { stderr } = await cli.run('apply', '-f', 'a.yaml', '-f', 'b.yaml');
    expect(stderr).toBe(
      'error: 2 of 2 objects were not applied.\n' +
        '  policy/shop/a (a.yaml:1): No. (request id r-1)\n' +
        '  policy/shop/b (b.yaml:1): No. (request id r-1)\n' +
        '  more: docs/errors.md#forbidden\n',
    );
  });

  it('with --curl prints a call for each document, the token as a file, and makes none', async () => {
    const cli = await connect();
    await cli.file('a.yaml', `${policyText('a')}---\n${policyText('b')}`);
    const { status, stdout } = await cli.run('--curl', 'apply', '-f', 'a.yaml');
    expect(status).toBe(0);
    expect(stdout.match(/printf 'Authorization: Bearer %s' "\$\(cat /g)).toHaveLength(2);
    expect(stdout).toContain(`-X PUT -H @- -H 'accept: application/json'`);
    expect(stdout).toContain(`${cli.url}/v1/policies/shop/b`);
    expect(stdout).toContain(cli.tokenFile);
    expect(stdout).not.toContain(cli.rest.token);
    expect((await cli.rest.policies.list({ kind: 'AuthorizationPolicy', limit: 10 })).items).toEqual([]);
  });

  it('with --curl names what is there: nothing for a new policy, its revision for another; the calls work', async () => {
    const cli = await connect();
    await cli.file('a.yaml', policyText('a'));
    await cli.run('apply', '-f', 'a.yaml');
    await cli.file('a.yaml', `${policyText('a', { path: '/other' })}---\n${policyText('b')}`);
    const { stdout } = await cli.run('--curl', 'apply', '-f', 'a.yaml');
    const [existing, added] = stdout.split(/^(?=printf)/m);
    expect(existing).toContain(`-H 'if-match: "1"'`);
    expect(existing).not.toContain('if-none-match');
    expect(added).toContain(`-H 'if-none-match: *'`);
    expect(added).not.toContain('if-match');
    await promisify(execFile)('sh', ['-c', stdout]);
    expect((await cli.rest.policies.get(policyKey('shop', 'a'))).source).toContain('/other');
    expect((await cli.rest.policies.get(policyKey('shop', 'b'))).revision).toBe(3);
  });

  it.each([
    [['apply'], "required option '-f, --filename <path>' not specified"],
    [['apply', '-f', 'nowhere.yaml'], 'Cannot read nowhere.yaml: there is no such file.'],
    [['apply', '-f', '.'], 'There is no .yaml, .yml or .json file in ..'],
  ])('%j is wrong usage', async (argv, message) => {
    const cli = await createTerminal();
    const { status, stderr } = await cli.run(...argv);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });
});
