import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import type { Role } from '../../../src/core/identity/roles.ts';
import { changesNothing, may, permissions, permissionsOf, roles } from '../../../src/core/identity/roles.ts';
import { createApp } from '../../../src/edge/rest/app.ts';
import { guard } from '../../../src/edge/rest/guard.ts';
import { permissionOf } from '../../../src/edge/rest/permissions.ts';
import { FakeClock } from '../../support/clock.ts';
import { Contract } from './contract.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

/** `POST /v1/nodes/{instanceId}:ban` for `POST /v1/nodes/:instanceId([^/:]+)::ban`. */
function documented(route: string): string {
  return route
    .replaceAll('::', '\0')
    .replace(/:([a-zA-Z]+)(\(\[\^\/:\]\+\))?/g, '{$1}')
    .replace(/\*$/, '{*}')
    .replaceAll('\0', ':');
}

async function operationsOf(world: World) {
  const { operations } = new Contract((await world.request({ url: '/v1/openapi.json' })).json());
  return operations.filter(({ operation }) => operation.security?.length !== 0);
}

async function bearerOf(world: World, role: Role): Promise<string> {
  const payload = { name: `some-${role}`, role, ttlSeconds: 3600 };
  const { token } = (await world.request({ method: 'POST', url: '/v1/tokens', payload })).json<{ token: string }>();
  return `Bearer ${token}`;
}

describe('the table of permissions', () => {
  it('lists every route that needs a token, and none that is not there', async () => {
    const served = (await operationsOf(await createWorld())).map(({ method, path }) => `${method} ${path}`);
    expect(served.length).toBeGreaterThan(40);
    expect([...permissionOf.keys()].map(documented).sort()).toEqual(served.sort());
  });

  it('lets nothing but GET and what is read with a POST change nothing', () => {
    const reads = [...permissionOf].filter(([, permission]) => changesNothing(permission)).map(([route]) => route);
    const posts = reads.filter((route) => !route.startsWith('GET '));
    for (const route of posts) expect(route).toMatch(/^POST \/v1\/policies::(check|plan|suggest|test)$/);
    const writes = [...permissionOf].filter(([, permission]) => !changesNothing(permission)).map(([route]) => route);
    for (const route of writes) expect(route).not.toMatch(/^GET /);
  });
});

describe('a role', () => {
  it('admin may do everything; auditor may read everything and change nothing; editor and viewer read no audit', () => {
    expect(permissionsOf('admin')).toEqual(permissions);
    expect(permissionsOf('auditor')).toEqual(permissions.filter((permission) => permission.endsWith(':read')));
    const writes = (role: Role) => permissionsOf(role).filter((permission) => !permission.endsWith(':read'));
    expect(writes('editor')).toEqual(['policies:write', 'changes:approve']);
    expect(writes('viewer')).toEqual([]);
    for (const role of ['editor', 'viewer'] as const)
      for (const permission of ['audit:read', 'tokens:read'] as const) expect(may(role, permission)).toBe(false);
  });

  it.each(roles)(
    '%s gets 403 for exactly what the table does not give it, whatever else is wrong with the request',
    async (role) => {
      const world = await createWorld();
      const headers = { authorization: await bearerOf(world, role) };
      const paths = new Map([...permissionOf].map(([route, permission]) => [documented(route), permission]));
      const wrong: string[] = [];
      for (const { method, path } of await operationsOf(world)) {
        // The live views would not end.
        if (path.endsWith('/tail')) continue;
        const permission = paths.get(`${method} ${path}`);
        if (permission === undefined) continue;
        const response = await world.request({
          method: method as 'GET',
          url: path.replace(/\{[^}]+\}/g, 'x'),
          headers: { ...headers, 'content-type': 'application/json' },
          ...(method !== 'GET' && { payload: '{}' }),
        });
        const isForbidden = response.statusCode === 403 && response.json<{ code: string }>().code === 'forbidden';
        const byRule = path === '/v1/tokens' && method === 'POST';
        if (isForbidden === may(role, permission) && !byRule) wrong.push(`${method} ${path}: ${response.statusCode}`);
      }
      expect(wrong).toEqual([]);
    },
  );

  it('auditor changes nothing, not even its own token, and reads who did what', async () => {
    const world = await createWorld();
    const authorization = await bearerOf(world, 'auditor');
    const { items } = (await world.request({ url: '/v1/tokens', headers: { authorization } })).json();
    const own = await world.request({ method: 'DELETE', url: `/v1/tokens/${items[0].id}`, headers: { authorization } });
    expect(expectProblem(own, 403, 'forbidden').detail).toBe(
      'This needs the permission tokens:write that your role (auditor) does not have. Roles that do: admin. See: writ whoami',
    );
    expect((await world.request({ url: '/v1/audit/admin', headers: { authorization } })).statusCode).toBe(200);
  });

  it('editor puts policies, and gets nowhere near keys, identities and tokens', async () => {
    const world = await createWorld();
    const authorization = await bearerOf(world, 'editor');
    const put = {
      method: 'PUT' as const,
      url: '/v1/policies/shop/web',
      payload: policyText('web'),
      headers: { authorization, 'content-type': 'application/yaml' },
    };
    expect((await world.request(put)).statusCode).toBe(201);
    for (const ask of [
      { method: 'POST' as const, url: '/v1/entries', payload: { spiffeId: 'spiffe://example.org/x' } },
      { method: 'POST' as const, url: '/v1/authorities:rotate', payload: { kind: 'x509' } },
      { method: 'POST' as const, url: '/v1/tokens', payload: { name: 'eve', ttlSeconds: 60 } },
      { url: '/v1/audit/identity' },
      { url: '/v1/audit/proofs/control-1.1.1' },
    ])
      expectProblem(await world.request({ ...ask, headers: { authorization } }), 403, 'forbidden');
  });

  it('is told with what it may do', async () => {
    const world = await createWorld();
    expect((await world.request({ url: '/v1/whoami' })).json()).toEqual({
      name: 'admin',
      role: 'admin',
      credential: 'bootstrap',
      permissions: [...permissions],
    });
    const authorization = await bearerOf(world, 'viewer');
    expect((await world.request({ url: '/v1/whoami', headers: { authorization } })).json()).toMatchObject({
      name: 'some-viewer',
      role: 'viewer',
      permissions: permissionsOf('viewer'),
    });
  });

  it('that nobody has asked for is admin, as tokens were before there were roles', async () => {
    const world = await createWorld();
    const payload = { name: 'ann', ttlSeconds: 60 };
    expect((await world.request({ method: 'POST', url: '/v1/tokens', payload })).json()).toMatchObject({
      role: 'admin',
    });
    expect((await world.request({ url: '/v1/tokens' })).json().items[0]).toMatchObject({ name: 'ann', role: 'admin' });
  });
});

describe('a route that is not in the table', () => {
  it('is for admin alone', async () => {
    const app = createApp({ clock: new FakeClock(), logger: silentLogger });
    let role: Role = 'admin';
    guard(app, {
      host: '127.0.0.1',
      port: () => 80,
      tokens: { authenticate: () => ({ name: 'x', role, credential: 'y' }) },
      stopping: new AbortController().signal,
    });
    app.get('/v1/new', async () => ({}));
    const ask = async () => {
      const headers = { host: 'localhost', authorization: 'Bearer x' };
      return (await app.inject({ url: '/v1/new', headers })).statusCode;
    };
    expect(await ask()).toBe(200);
    for (role of ['editor', 'auditor', 'viewer'] as const) expect(await ask()).toBe(403);
    await app.close();
  });
});
