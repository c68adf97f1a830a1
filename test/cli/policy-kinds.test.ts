import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { policyKindNames, policyKinds } from '../../src/core/policy/kinds.ts';
import { documentOf } from '../support/policies.ts';
import type { Connected } from './server.ts';
import { connect } from './server.ts';

const names = policyKindNames.map((kind) => `${policyKinds[kind].singular}/shop/web`);

/** One file with an object of each kind. */
async function setUp(options: Parameters<typeof connect>[0] = {}): Promise<Connected> {
  const cli = await connect(options);
  await mkdir(join(cli.cwd, 'mesh'));
  await cli.file('mesh/all.yaml', policyKindNames.map((kind) => documentOf(kind, 'web')).join('---\n'));
  return cli;
}

describe('Objects of every kind', () => {
  it('are applied from one file, and found unchanged when it is applied again', async () => {
    const cli = await setUp();
    const lines = (result: string) => `${names.map((name) => `${name} ${result}\n`).join('')}`;
    expect(await cli.run('apply', '-f', 'mesh')).toMatchObject({ status: 0, stdout: lines('created') });
    expect(await cli.run('apply', '-f', 'mesh')).toMatchObject({ status: 0, stdout: lines('unchanged') });
    expect(await cli.run('diff', '-f', 'mesh')).toMatchObject({ status: 0, stdout: '' });
    await cli.file(
      'mesh/all.yaml',
      policyKindNames.map((kind) => documentOf(kind, 'web', { mark: 'b' })).join('---\n'),
    );
    const { status, stdout } = await cli.run('diff', '-f', 'mesh');
    expect(status).toBe(1);
    expect(stdout.match(/^\+\+\+ /gm)).toHaveLength(policyKindNames.length);
    expect(await cli.run('apply', '-f', 'mesh')).toMatchObject({ status: 0, stdout: lines('configured') });
  });

  it('are all checked before the first is sent', async () => {
    const cli = await setUp();
    await cli.file('mesh/b.yaml', documentOf('RateLimit', 'db').replace('requests: 10', 'requests: none'));
    const { status, stderr } = await cli.run('apply', '-f', 'mesh');
    expect(status).toBe(1);
    expect(stderr).toContain('mesh/b.yaml:8:');
    expect(await cli.run('policy', 'history', '-o', 'name')).toMatchObject({ stdout: '' });
  });

  it.each(policyKindNames)(
    '%s: get -o yaml gives back what was applied, byte for byte, and delete takes it away',
    async (kind) => {
      const cli = await setUp();
      const { singular, plural } = policyKinds[kind];
      const text = `# grüße\r\n${documentOf(kind, 'web')}# end\n`;
      await cli.file('one.yaml', text);
      await cli.run('apply', '-f', 'one.yaml');
      expect((await cli.run('get', singular, 'shop/web', '-o', 'yaml')).stdout).toBe(text);
      expect((await cli.run('get', plural, '-o', 'name')).stdout).toBe(`${singular}/shop/web\n`);
      const table = (await cli.run('get', plural)).stdout.split('\n');
      expect(table[0]).toMatch(/^NAMESPACE +NAME .* REVISION +UPDATED +BY/);
      expect(table[1]).toMatch(/^shop +web /);
      const gone = await cli.run('delete', singular, 'shop/web', '--yes', '--reason', 'T-1');
      expect(gone).toMatchObject({ status: 0, stdout: `${singular}/shop/web deleted\n` });
      expect(await cli.run('get', singular, 'shop/web')).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('There is no'),
      });
    },
  );

  it.each(policyKindNames)('%s: shows its history and differences, and goes back', async (kind) => {
    const cli = await setUp();
    const { singular } = policyKinds[kind];
    const reference = `${singular}/shop/web`;
    for (const mark of ['a', 'b']) {
      await cli.file('one.yaml', documentOf(kind, 'web', { mark }));
      await cli.run('apply', '-f', 'one.yaml', '--reason', mark);
    }
    const history = await cli.run('policy', 'history', reference, '-o', 'name');
    expect(history.stdout).toBe(`${reference}@2\n${reference}@1\n`);
    expect(await cli.run('policy', 'diff', reference)).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/^--- shop\/web@1\n\+\+\+ shop\/web@2\n/),
    });
    const back = await cli.run('policy', 'rollback', reference, '--to', '1', '--reason', 'it broke', '--yes');
    expect(back).toMatchObject({ status: 0, stdout: `${reference} rolled back to revision 1, as revision 3\n` });
    expect((await cli.run('get', singular, 'shop/web', '-o', 'yaml')).stdout).toBe(documentOf(kind, 'web'));
  });

  it('stand in one history, each with its kind', async () => {
    const cli = await setUp();
    await cli.run('apply', '-f', 'mesh');
    const { stdout } = await cli.run('policy', 'history', '-o', 'name');
    expect(stdout.trim().split('\n')).toEqual(names.map((name, index) => `${name}@${index + 1}`).reverse());
    expect((await cli.run('policy', 'history')).stdout).toMatch(/ rate-limit\/shop\/web +created/);
  });

  it('go with --prune when the files do not have them, whatever their kind', async () => {
    const cli = await setUp();
    await cli.run('apply', '-f', 'mesh');
    await cli.file('mesh/all.yaml', documentOf('AuthorizationPolicy', 'web'));
    const { status, stdout } = await cli.run('apply', '-f', 'mesh', '--prune', '-n', 'shop', '--yes');
    expect([status, stdout]).toEqual([
      0,
      `policy/shop/web unchanged\n${names
        .slice(1)
        .map((name) => `${name} deleted\n`)
        .join('')}`,
    ]);
    expect((await cli.run('get', 'rate-limits', '-o', 'name')).stdout).toBe('');
    expect((await cli.run('get', 'policies', '-o', 'name')).stdout).toBe('policy/shop/web\n');
  });

  it.each(['pods/shop/web', 'a/b/c/d', 'rate-limit/shop/..'])('%s names none', async (reference) => {
    const cli = await connect();
    expect(await cli.run('policy', 'history', reference)).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/names no (policy|rate limit)\b/),
    });
  });
});
