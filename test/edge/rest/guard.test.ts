import { describe, expect, it } from 'vitest';
import { Contract } from './contract.ts';
import { createWorld, expectProblem } from './world.ts';

const PUBLIC = ['/v1/bundle', '/v1/jwks'];

describe('the guard', () => {
  it('asks for the token on every operation of /v1 but the public keys', async () => {
    const world = await createWorld();
    const contract = new Contract((await world.request({ url: '/v1/openapi.json' })).json());
    expect(contract.operations.length).toBeGreaterThan(15);
    for (const { method, path, operation } of contract.operations) {
      const url = path.replace(/\{[^}]+\}/g, 'x');
      const response = await world.request({ method: method as 'GET', url, headers: { authorization: null } });
      if (PUBLIC.includes(path)) {
        expect({ path, status: response.statusCode, security: operation.security }).toEqual({
          path,
          status: 200,
          security: [],
        });
      } else {
        expectProblem(response, 401, 'unauthenticated');
        expect(response.headers['www-authenticate']).toBe('Bearer realm="writ"');
      }
    }
  });

  it('asks for it below /v1 also where nothing is', async () => {
    const world = await createWorld();
    for (const url of ['/v1', '/v1/', '/v1/nothing', '/v1?x=1']) {
      expectProblem(await world.request({ url, headers: { authorization: null } }), 401, 'unauthenticated');
    }
  });

  it('refuses every token but the one', async () => {
    const world = await createWorld();
    const wrong = [
      '',
      'Bearer',
      'Bearer ',
      `Basic ${Buffer.from(`admin:${world.token}`).toString('base64')}`,
      world.token,
      `Bearer ${world.token}x`,
      `Bearer ${world.token.slice(0, -1)}`,
      `Bearer ${world.token} ${world.token}`,
      `Bearer ${'x'.repeat(4096)}`,
    ];
    const details = new Set<string>();
    for (const authorization of wrong) {
      details.add(
        expectProblem(await world.request({ url: '/v1/proxies', headers: { authorization } }), 401, 'unauthenticated')
          .detail,
      );
    }
    expect(details.size).toBe(1);
    const right = await world.request({ url: '/v1/proxies', headers: { authorization: `bearer ${world.token}` } });
    expect(right.statusCode).toBe(200);
  });

  it('takes no token from the query', async () => {
    const world = await createWorld();
    const response = await world.request({
      url: `/v1/proxies?access_token=${world.token}`,
      headers: { authorization: null },
    });
    expectProblem(response, 401, 'unauthenticated');
  });

  it('refuses a body before it is read when there is no token', async () => {
    const world = await createWorld();
    const response = await world.request({
      method: 'POST',
      url: '/v1/entries',
      payload: '{"broken',
      headers: { authorization: null, 'content-type': 'application/json' },
    });
    expectProblem(response, 401, 'unauthenticated');
  });

  it('serves only loopback hosts with its own port while it is bound to loopback', async () => {
    const world = await createWorld();
    for (const host of ['evil.example:8080', '127.0.0.1', '127.0.0.1:8081', 'localhost.evil.example:8080', '']) {
      expectProblem(await world.request({ url: '/', headers: { host } }), 403, 'forbidden');
    }
    for (const host of ['localhost:8080', '127.0.0.1:8080', '[::1]:8080', 'LOCALHOST:8080']) {
      expect((await world.request({ url: '/', headers: { host } })).statusCode).toBe(200);
    }
  });

  it('serves any host when it is bound to another address', async () => {
    const world = await createWorld({ host: '0.0.0.0' });
    expect((await world.request({ url: '/', headers: { host: 'writ.example' } })).statusCode).toBe(200);
  });

  it('puts the same defensive headers on every answer, and no banner', async () => {
    const world = await createWorld();
    for (const url of ['/', '/v1/proxies', '/v1/nothing', '/v1/policies/%zz/a']) {
      const { headers } = await world.request({ url });
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
      });
      expect(headers['content-security-policy']).toMatch(/default-src 'none'.*frame-ancestors 'none'/);
      expect(headers['content-security-policy']).not.toMatch(/unsafe/);
      expect(headers).not.toHaveProperty('server');
      expect(headers).not.toHaveProperty('x-powered-by');
      expect(headers).not.toHaveProperty('access-control-allow-origin');
      if (url.startsWith('/v1')) expect(headers['cache-control']).toBe('no-store');
    }
  });

  it('does not take a request id from the caller', async () => {
    const world = await createWorld();
    const response = await world.request({
      url: '/v1/proxies',
      headers: { 'x-request-id': 'forged', 'request-id': 'forged' },
    });
    expect(response.headers['x-request-id']).not.toBe('forged');
  });
});

describe('admin writes', () => {
  it('of a join token are logged with its id and its entry, never with the token', async () => {
    const world = await createWorld();
    const payload = { spiffeId: 'spiffe://example.org/ns/shop/sa/web' };
    const entry = (await world.request({ method: 'POST', url: '/v1/entries', payload })).json();
    const asked = { method: 'POST', url: '/v1/join-tokens', payload: { entryId: entry.id } } as const;
    const issued = (await world.request(asked)).json();
    const line = world.logLines.find((each) => each.route === '/v1/join-tokens');
    expect(line).toMatchObject({ event: 'admin.write', object: { id: issued.id, entryId: entry.id } });
    expect(JSON.stringify(world.logLines)).not.toContain(issued.token);
  });

  it('are logged with who, what, on what, and the result, refused ones too; reads are not', async () => {
    const world = await createWorld();
    await world.request({ url: '/v1/entries' });
    await world.request({
      method: 'POST',
      url: '/v1/policies:check',
      payload: { from: 'shop/web', to: 'shop/orders' },
    });
    expect(world.logLines.filter((line) => line.event === 'admin.write')).toEqual([]);

    const ok = await world.request({
      method: 'POST',
      url: '/v1/entries',
      payload: { spiffeId: 'spiffe://example.org/ns/shop/sa/web' },
    });
    await world.request({ method: 'DELETE', url: '/v1/policies/shop/web', headers: { authorization: null } });
    const [made, refused, ...others] = world.logLines.filter((line) => line.event === 'admin.write');
    expect(made).toMatchObject({
      actor: 'admin',
      method: 'POST',
      route: '/v1/entries',
      status: 201,
      result: 'done',
      location: ok.headers.location,
      requestId: ok.headers['x-request-id'],
      address: '127.0.0.1',
    });
    expect(refused).toMatchObject({
      actor: null,
      object: { namespace: 'shop', name: 'web' },
      status: 401,
      result: 'refused',
    });
    expect(others).toEqual([]);
  });

  it('never log a token', async () => {
    const world = await createWorld();
    const entry = await world.entries.create({ spiffeId: 'spiffe://example.org/ns/shop/sa/web' });
    const { token } = (
      await world.request({ method: 'POST', url: '/v1/join-tokens', payload: { entryId: entry.id } })
    ).json<{ token: string }>();
    const log = JSON.stringify(world.logLines);
    expect(token).toMatch(/^wjt_/);
    expect(log).not.toContain(token);
    expect(log).not.toContain(world.token);
  });
});
