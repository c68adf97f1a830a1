import { expect, it } from 'vitest';
import type { AuthorityStatus } from '../../src/control/authority/rotation.ts';
import type { AuthoritiesPort } from '../../src/edge/rest/authorities.ts';
import { connect } from './server.ts';

const ids = (stdout: string) => stdout.match(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g) ?? [];

it('ca show lists what is trusted, and which root to pin', async () => {
  const cli = await connect();
  const { status, stdout, stderr } = await cli.run('ca', 'show');
  expect([status, stderr]).toEqual([0, '']);
  const [head = '', ...rows] = stdout.trimEnd().split('\n');
  expect(head).toMatch(/^ID +KIND +STATE +SINCE +ENDS +MISSING +NAME$/);
  expect(rows.map((row) => row.split(/ +/).slice(1, 3).join(' ')).sort()).toEqual([
    'jwt active',
    'wit active',
    'x509 active',
  ]);
  const wide = await cli.run('ca', 'show', '-o', 'wide');
  expect(wide.stdout).toMatch(/x509 .* sha256:[0-9a-f]{64} /);
  const { items } = JSON.parse((await cli.run('ca', 'show', '-o', 'json')).stdout);
  expect(items).toHaveLength(3);
});

it('a root is prepared, activated, tainted and revoked by hand', async () => {
  const cli = await connect();
  const [first = ''] = ids((await cli.run('ca', 'show', '-o', 'json')).stdout);
  const { items } = JSON.parse((await cli.run('ca', 'show', '-o', 'json')).stdout);
  const old = items.find((item: { kind: string }) => item.kind === 'x509').id;
  expect(first).not.toBe('');
  const prepared = await cli.run('ca', 'prepare', 'x509');
  expect([prepared.status, prepared.stderr]).toEqual([0, '']);
  const [id = ''] = ids(prepared.stdout);
  expect(prepared.stdout).toBe(`authority/${id} (x509) prepared\n`);
  expect((await cli.run('ca', 'activate', id)).stdout).toBe(`authority/${id} (x509) active\n`);
  expect((await cli.run('ca', 'taint', old)).stdout).toBe(`authority/${old} (x509) tainted\n`);
  const kept = await cli.run('ca', 'revoke', old);
  expect([kept.status, kept.stderr]).toEqual([2, expect.stringMatching(/Add --yes/)]);
  expect((await cli.run('ca', 'revoke', old, '--yes')).stdout).toBe(`authority/${old} (x509) revoked\n`);
  expect((await cli.run('ca', 'show')).stdout).not.toContain(old);
});

it('S17: what may not be is refused with its reason', async () => {
  const cli = await connect();
  const { items } = JSON.parse((await cli.run('ca', 'show', '-o', 'json')).stdout);
  const { status, stderr } = await cli.run('ca', 'taint', items[0].id);
  expect(status).not.toBe(0);
  expect(stderr).toMatch(/is active, and only what is old can be tainted/);
  expect((await cli.run('ca', 'rotate', 'ssh')).stderr).toMatch(/is x509, jwt or wit, not "ssh"/);
  expect((await cli.run('ca', 'revoke')).status).toBe(2);
});

it('a dry run changes nothing', async () => {
  const cli = await connect();
  const before = await cli.run('ca', 'show', '-o', 'json');
  const dry = await cli.run('ca', 'rotate', 'jwt', '--dry-run');
  expect([dry.status, dry.stdout]).toEqual([
    0,
    expect.stringMatching(/^authority\/\S+ \(jwt\) prepared \(dry run\)\n$/),
  ]);
  expect((await cli.run('ca', 'show', '-o', 'json')).stdout).toBe(before.stdout);
  expect(cli.rest.recorder.events).toEqual([]);
});

it('ca rotate --wait says who is missing, and returns when the new one signs', async () => {
  const prepared = status({
    state: 'prepared',
    soon: true,
    missing: ['spiffe://example.org/ns/shop/sa/web (instance 1)'],
  });
  // The record of the change looks once as well, before the command does.
  const answers = [prepared, prepared, { ...prepared, missing: [] }, status({ state: 'active' })];
  let rotated = false;
  const never = () => Promise.reject(new Error('not asked for'));
  const authorities: AuthoritiesPort = {
    list: async () => ({ sequence: 2, items: [(rotated ? answers.shift() : undefined) ?? prepared] }),
    rotate: async () => {
      rotated = true;
      return prepared;
    },
    prepare: never,
    activate: never,
    taint: never,
    revoke: never,
  };
  const cli = await connect({ deps: { authorities } });
  let isRunning = true;
  const running = cli.run('ca', 'rotate', 'jwt', '--wait').finally(() => {
    isRunning = false;
  });
  while (isRunning) await cli.rest.clock.advance(1_000);
  const { status: exit, stdout, stderr } = await running;
  expect(exit).toBe(0);
  const name = `authority/${prepared.id} (jwt)`;
  expect(stdout).toBe(`${name} prepared\n${name} active\n`);
  expect(stderr).toBe(
    `authority/${prepared.id} waits until these have the bundle with it: spiffe://example.org/ns/shop/sa/web (instance 1)\n`,
  );
});

function status(change: Partial<AuthorityStatus>): AuthorityStatus {
  return {
    id: '019a0000-0000-7000-8000-000000000001',
    kind: 'jwt',
    state: 'active',
    name: 'k',
    certificate: null,
    listener: false,
    upstream: false,
    notBefore: 0,
    notAfter: 1,
    belowMs: 0,
    createdAt: 0,
    since: 0,
    sequence: 2,
    soon: false,
    missing: [],
    ...change,
  };
}

it('--curl shows the call', async () => {
  const cli = await connect();
  const { stdout } = await cli.run('ca', 'rotate', 'jwt', '--curl');
  expect(stdout).toContain('/v1/authorities:rotate');
});
