import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { policyText } from '../edge/rest/world.ts';
import { policyKey } from '../support/policies.ts';
import { connect } from './server.ts';

describe('token', () => {
  it('create shows it once, or writes it where only its owner reads; its name is the author of changes', async () => {
    const cli = await connect();
    const shown = await cli.run('token', 'create', 'bob', '--expires-in', '90d');
    expect(shown.stdout).toMatch(/^writ_[A-Za-z0-9_-]{43}\n$/);
    expect(shown.stderr).toBe('A token for bob, expires in 90d.\n');
    const { status, stdout } = await cli.run('token', 'create', 'ann', '--expires-in', '30d', '--out', 'ann.token');
    expect([status, stdout]).toEqual([0, '']);
    expect((await stat(join(cli.cwd, 'ann.token'))).mode & 0o777).toBe(0o600);
    await cli.file('a.yaml', policyText('a'));
    expect((await cli.run('apply', '-f', 'a.yaml', '--token-file', 'ann.token')).status).toBe(0);
    expect((await cli.rest.policies.get(policyKey('shop', 'a'))).updatedBy).toBe('ann');
    const list = await cli.run('token', 'list');
    expect(list.stdout).toMatch(/ bob +admin +0s +in 90d +-\n/);
    expect(list.stdout).toMatch(/ ann +admin +0s +in 30d +0s\n/);
    expect(list.stdout).not.toContain((await readFile(join(cli.cwd, 'ann.token'), 'utf8')).trim());
    expect((await cli.run('token', 'create', 'ann', '--expires-in', '1d', '--out', 'ann.token')).status).toBe(2);
  });

  it('revoke ends it', async () => {
    const cli = await connect();
    await cli.run('token', 'create', 'ann', '--expires-in', '1h', '--out', 'ann.token');
    const id = (await cli.run('token', 'list', '-o', 'name')).stdout.trim().replace('token/', '');
    expect((await cli.run('token', 'revoke', id)).status).toBe(2);
    expect((await cli.run('token', 'revoke', id, '--yes')).stdout).toBe(`token/${id} deleted\n`);
    expect((await cli.run('get', 'policies', '--token-file', 'ann.token')).status).toBe(4);
  });

  it.each([
    [['create', 'ann'], 2],
    [['create', 'ann', '--expires-in', '91d'], 2],
    [['create', 'ann', '--expires-in', 'soon'], 2],
    [['create', 'Ann', '--expires-in', '1d'], 1],
    [['create', 'ann', '--expires-in', '1d', '--dry-run'], 0],
  ])('%j makes none', async (argv, status) => {
    const cli = await connect();
    expect((await cli.run('token', ...argv)).status).toBe(status);
    expect((await cli.run('token', 'list', '-o', 'name')).stdout).toBe('');
  });

  it('of somebody with a name makes no others', async () => {
    const cli = await connect();
    await cli.run('token', 'create', 'ann', '--expires-in', '1h', '--out', 'ann.token');
    const { status } = await cli.run('token', 'create', 'eve', '--expires-in', '1h', '--token-file', 'ann.token');
    expect(status).toBe(4);
  });
});
