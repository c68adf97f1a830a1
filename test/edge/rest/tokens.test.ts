import { describe, expect, it } from 'vitest';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

async function make(world: World, name: string): Promise<{ readonly id: string; readonly bearer: string }> {
  const response = await world.request({ method: 'POST', url: '/v1/tokens', payload: { name, ttlSeconds: 3600 } });
  expect(response.statusCode).toBe(201);
  const { id, token } = response.json<{ id: string; token: string }>();
  expect(response.headers.location).toBe(`/v1/tokens/${id}`);
  return { id, bearer: `Bearer ${token}` };
}

describe('tokens', () => {
  it('are shown once, and make their name the author of changes', async () => {
    const world = await createWorld();
    const ann = await make(world, 'ann');
    const response = await world.request({
      method: 'PUT',
      url: '/v1/policies/shop/web',
      payload: policyText('web'),
      headers: { 'content-type': 'application/yaml', authorization: ann.bearer },
    });
    expect(response.json().metadata.updatedBy).toBe('ann');
    expect((await world.request({ url: '/v1/revisions' })).json().items[0].author).toBe('ann');
    expect(world.logLines.at(-1)).toMatchObject({ event: 'admin.write', actor: 'ann' });
    const { items } = (await world.request({ url: '/v1/tokens' })).json();
    expect(items).toEqual([
      {
        ...{ id: ann.id, name: 'ann', role: 'admin', createdAt: '2026-01-01T00:00:00.000Z' },
        ...{ expiresAt: '2026-01-01T01:00:00.000Z', lastUsedAt: '2026-01-01T00:00:00.000Z' },
      },
    ]);
    expect(JSON.stringify(world.logLines)).not.toContain(ann.bearer.slice('Bearer writ_'.length));
  });

  it('end when they expire or are revoked', async () => {
    const world = await createWorld();
    const [ann, bob] = [await make(world, 'ann'), await make(world, 'bob')];
    const asks = (who: { readonly bearer: string }) =>
      world.request({ url: '/v1/policies', headers: { authorization: who.bearer } });
    expect((await asks(bob)).statusCode).toBe(200);
    const url = `/v1/tokens/${bob.id}`;
    expectProblem(
      await world.request({ method: 'DELETE', url, headers: { authorization: ann.bearer } }),
      404,
      'not-found',
    );
    expect((await world.request({ method: 'DELETE', url })).statusCode).toBe(204);
    expectProblem(await asks(bob), 401, 'unauthenticated');
    expect((await asks(ann)).statusCode).toBe(200);
    await world.clock.advance(3_600_000);
    expectProblem(await asks(ann), 401, 'unauthenticated');
  });

  it('are made by the admin token only, once for an Idempotency-Key', async () => {
    const world = await createWorld();
    const ann = await make(world, 'ann');
    const ask = { method: 'POST', url: '/v1/tokens', payload: { name: 'eve', ttlSeconds: 60 } } as const;
    const refused = await world.request({ ...ask, headers: { authorization: ann.bearer } });
    expectProblem(refused, 403, 'forbidden');
    const headers = { 'idempotency-key': 'k' };
    const [one, two] = [await world.request({ ...ask, headers }), await world.request({ ...ask, headers })];
    expect(two.json()).toEqual(one.json());
    expect((await world.request({ url: '/v1/tokens' })).json().items).toHaveLength(2);
  });

  it.each([
    [{}],
    [{ name: 'ann' }],
    [{ name: 'ann', ttlSeconds: 90 * 86_400 + 1 }],
    [{ name: 'ann', ttlSeconds: '60' }],
    [{ name: 'Ann', ttlSeconds: 60 }],
    [{ name: 'admin', ttlSeconds: 60 }],
    [{ name: 'a\u0000b', ttlSeconds: 60 }],
    [{ name: 'ann', ttlSeconds: 60, role: 'root' }],
    [{ name: 'ann', ttlSeconds: 60, token: 'mine' }],
  ])('are refused for %j', async (payload) => {
    const world = await createWorld();
    const { statusCode } = await world.request({ method: 'POST', url: '/v1/tokens', payload });
    expect([400, 422]).toContain(statusCode);
    expect((await world.request({ url: '/v1/tokens' })).json().items).toEqual([]);
  });
});
