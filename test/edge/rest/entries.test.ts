import { describe, expect, it } from 'vitest';
import { createWorld, expectProblem } from './world.ts';

const web = 'spiffe://example.org/ns/shop/sa/web';
const unknown = '019b7d5c-0000-7000-8000-000000000000';

describe('entries', () => {
  it('are created, read, replaced and deleted, each with its revision', async () => {
    const world = await createWorld();
    const made = await world.request({
      method: 'POST',
      url: '/v1/entries',
      payload: { spiffeId: web, labels: { app: 'web' } },
    });
    expect(made.statusCode).toBe(201);
    const entry = made.json();
    expect(entry).toEqual({
      id: expect.any(String),
      spiffeId: web,
      parentId: null,
      selectors: [],
      namespaces: [],
      labels: { app: 'web' },
      x509TtlSeconds: null,
      jwtTtlSeconds: null,
      dnsNames: [],
      federatesWith: [],
      hint: '',
      expiresAt: null,
      jwtClaims: null,
      revision: 1,
      createdAt: '2026-01-01T00:00:00.000Z',
      updatedAt: '2026-01-01T00:00:00.000Z',
    });
    const url = `/v1/entries/${entry.id}`;
    expect(made.headers).toMatchObject({ location: url, etag: '"1"' });
    expect((await world.request({ url })).json()).toEqual(entry);
    expect((await world.request({ url, headers: { 'if-none-match': '"1"' } })).statusCode).toBe(304);

    const payload = { spiffeId: web, selectors: ['unix:uid:7'], x509TtlSeconds: 600 };
    const put = (headers: Record<string, string>) => world.request({ method: 'PUT', url, payload, headers });
    expectProblem(await put({}), 428, 'precondition-required');
    expectProblem(await put({ 'if-match': '"7"' }), 412, 'precondition-failed');
    const replaced = await put({ 'if-match': '"1"' });
    expect(replaced.headers.etag).toBe('"2"');
    expect(replaced.json()).toMatchObject({ selectors: ['unix:uid:7'], labels: {}, x509TtlSeconds: 600, revision: 2 });

    const remove = (headers: Record<string, string>) => world.request({ method: 'DELETE', url, headers });
    expectProblem(await remove({}), 428, 'precondition-required');
    expectProblem(await remove({ 'if-match': '"1"' }), 412, 'precondition-failed');
    const removed = await remove({ 'if-match': '"2"' });
    expect({ status: removed.statusCode, body: removed.payload }).toEqual({ status: 204, body: '' });
    expectProblem(await world.request({ url }), 404, 'not-found');
  });

  it('are refused with all that control finds wrong, with pointers into the body', async () => {
    const world = await createWorld();
    const payload = {
      spiffeId: 'spiffe://other.org/ns/shop/sa/web',
      selectors: ['nonsense'],
      labels: { 'not a key': 'x' },
    };
    const problem = expectProblem(
      await world.request({ method: 'POST', url: '/v1/entries', payload }),
      422,
      'invalid-document',
    );
    expect(problem.errors?.map((error) => error.pointer)).toEqual(['/spiffeId', '/selectors/0', '/labels/not a key']);
  });

  it('are one per parent, SPIFFE ID and selectors', async () => {
    const world = await createWorld();
    const post = (more: object = {}) =>
      world.request({ method: 'POST', url: '/v1/entries', payload: { spiffeId: web, ...more } });
    expect((await post()).statusCode).toBe(201);
    expectProblem(await post(), 409, 'conflict');
    expect((await post({ selectors: ['unix:uid:7'] })).statusCode).toBe(201);
    expectProblem(await post({ selectors: ['unix:uid:8'], labels: { app: 'other' } }), 409, 'conflict');
  });

  it('keep all that they are given, and give it back', async () => {
    const world = await createWorld();
    const payload = {
      spiffeId: 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}',
      parentId: 'spiffe://example.org/writ/agent/k8s_psat/prod/1',
      selectors: ['k8s:ns:shop'],
      namespaces: ['shop'],
      labels: { app: 'web' },
      x509TtlSeconds: 600,
      jwtTtlSeconds: 60,
      dnsNames: ['*.shop.example.org'],
      federatesWith: ['other.org'],
      hint: 'internal',
      expiresAt: '2026-01-02T00:00:00.000Z',
      jwtClaims: { role: 'reader', groups: ['{{k8s.ns}}', 1, null] },
    };
    const made = await world.request({ method: 'POST', url: '/v1/entries', payload });
    expect(made.statusCode).toBe(201);
    expect(made.json()).toMatchObject(payload);
    const { id } = made.json();
    const url = `/v1/entries/${id}`;
    expect((await world.request({ url })).json()).toMatchObject(payload);
    const put = {
      ...payload,
      expiresAt: '2026-01-02T01:00:00+01:00',
      jwtClaims: null,
      parentId: null,
      labels: undefined,
    };
    const answer = await world.request({ method: 'PUT', url, payload: put, headers: { 'if-match': '*' } });
    expect(expectProblem(answer, 422, 'invalid-document').errors?.map((one) => one.pointer)).toEqual(['/parentId']);
    const again = await world.request({
      method: 'PUT',
      url,
      payload: { ...put, parentId: payload.parentId },
      headers: { 'if-match': '*' },
    });
    expect(again.json()).toMatchObject({ expiresAt: payload.expiresAt, jwtClaims: null, labels: {} });
  });

  it.each([
    ['/expiresAt', { expiresAt: 'tomorrow' }],
    ['/expiresAt', { expiresAt: '2020-01-01T00:00:00Z' }],
    ['/expiresAt', { expiresAt: 1_893_456_000 }],
    ['/jwtClaims/sub', { jwtClaims: { sub: 'x' } }],
    ['/jwtClaims', { jwtClaims: [] }],
    ['/parentId', { parentId: 'spiffe://other.org/x', selectors: ['x:y'] }],
    ['/dnsNames/0', { dnsNames: ['*'] }],
    ['/hint', { hint: 'x'.repeat(1025) }],
    ['/owner', { owner: 'me' }],
  ])('are refused for %s of %j', async (pointer, more) => {
    const world = await createWorld();
    const payload = { spiffeId: web, ...more };
    const problem = expectProblem(
      await world.request({ method: 'POST', url: '/v1/entries', payload }),
      422,
      'invalid-document',
    );
    expect(problem.errors?.map((error) => error.pointer)).toEqual([pointer]);
  });

  it('are listed by parent and by selector', async () => {
    const world = await createWorld();
    const parentId = 'spiffe://example.org/nodes';
    await world.entries.create({ spiffeId: web, parentId, selectors: ['x:1', 'y:1'] });
    await world.entries.create({ spiffeId: web, selectors: ['x:1'] });
    const count = async (query: string) => (await world.request({ url: `/v1/entries?${query}` })).json().items.length;
    expect(await count(`parentId=${encodeURIComponent(parentId)}`)).toBe(1);
    expect(await count('selector=x:1')).toBe(2);
    expect(await count('selector=y:1')).toBe(1);
    expect(await count('selector=z:1')).toBe(0);
  });

  it('are imported from SPIRE, all or none', async () => {
    const world = await createWorld();
    const good = {
      spiffe_id: 'spiffe://example.org/Blog',
      parent_id: 'spiffe://example.org/spire/server',
      selectors: [{ type: 'unix', value: 'uid:1111' }],
    };
    const send = (list: readonly unknown[], query = '') =>
      world.request({ method: 'POST', url: `/v1/entries:import${query}`, payload: { entries: list } });
    const refused = expectProblem(await send([good, { ...good, admin: true }]), 422, 'invalid-document');
    expect(refused.errors).toEqual([
      expect.objectContaining({ pointer: '/entries/1/admin', code: 'no-equivalent', detail: expect.any(String) }),
    ]);
    const mapped = [{ code: 'parent-mapped', detail: expect.stringMatching(/is spiffe:.*control-plane here/) }];
    const dry = await send([good], '?dryRun=true');
    expect(dry.json()).toEqual({
      created: [{ id: '00000000-0000-0000-0000-000000000000', spiffeId: good.spiffe_id }],
      unchanged: [],
      warnings: mapped,
    });
    expect((await world.entries.list()).items).toEqual([]);
    const done = await send([good]);
    expect(done.statusCode).toBe(200);
    const [entry] = (await world.entries.list()).items;
    expect(done.json().created).toEqual([{ id: entry?.id, spiffeId: good.spiffe_id }]);
    expect((await send([good])).json()).toMatchObject({ created: [], unchanged: [{ id: entry?.id }] });
    const conflict = expectProblem(await send([{ ...good, hint: 'x' }]), 409, 'conflict');
    expect(conflict.errors?.map((one) => one.pointer)).toEqual(['/entries/0']);
    expectProblem(
      await world.request({ method: 'POST', url: '/v1/entries:import', payload: [] }),
      422,
      'invalid-document',
    );
  });

  it('may be ten thousand in one import, and a body of more than 8 MiB is refused', async () => {
    const world = await createWorld();
    const one = (n: number, hint = '') => ({
      spiffe_id: `spiffe://example.org/ns/shop/sa/s${n}`,
      parent_id: 'spiffe://example.org/nodes',
      selectors: [{ type: 'unix', value: `path:/usr/lib/applications/service-${n}/bin/service-${n}` }],
      hint,
    });
    const send = (list: readonly unknown[]) =>
      world.request({ method: 'POST', url: '/v1/entries:import', payload: { entries: list } });
    const all = await send(Array.from({ length: 10_000 }, (_, n) => one(n)));
    expect(all.json().created).toHaveLength(10_000);
    expectProblem(await send(Array.from({ length: 9_000 }, (_, n) => one(n, 'x'.repeat(1000)))), 413, 'too-large');
  });

  it('are never for the control plane itself', async () => {
    const world = await createWorld();
    const payload = { spiffeId: 'spiffe://example.org/writ/control-plane' };
    expectProblem(await world.request({ method: 'POST', url: '/v1/entries', payload }), 422, 'invalid-document');
  });

  it('are listed by namespace and by SPIFFE ID, page by page', async () => {
    const world = await createWorld();
    for (const name of ['a', 'b', 'c']) {
      await world.entries.create({ spiffeId: `spiffe://example.org/ns/shop/sa/${name}` });
      await world.clock.advance(1);
    }
    await world.entries.create({ spiffeId: 'spiffe://example.org/ns/bank/sa/a' });
    const list = async (query: string) => (await world.request({ url: `/v1/entries?${query}` })).json();
    const first = await list('namespace=shop&limit=2');
    expect(first.items).toHaveLength(2);
    const second = await list(`namespace=shop&limit=2&cursor=${first.nextCursor}`);
    expect(second).toMatchObject({ items: [{ spiffeId: 'spiffe://example.org/ns/shop/sa/c' }], nextCursor: null });
    const one = await list(`spiffeId=${encodeURIComponent('spiffe://example.org/ns/bank/sa/a')}`);
    expect(one.items).toHaveLength(1);
    expectProblem(await world.request({ url: `/v1/entries?cursor=${first.nextCursor}` }), 400, 'invalid-cursor');
  });

  it('are not found by an id that is unknown, and refused by one that is none', async () => {
    const world = await createWorld();
    expectProblem(await world.request({ url: `/v1/entries/${unknown}` }), 404, 'not-found');
    expectProblem(await world.request({ url: '/v1/entries/7' }), 400, 'invalid');
  });
});

describe('join tokens', () => {
  it('are shown once, stored nowhere, and list without themselves', async () => {
    const world = await createWorld();
    const entry = await world.entries.create({ spiffeId: web });
    const made = await world.request({
      method: 'POST',
      url: '/v1/join-tokens',
      payload: { entryId: entry.id, ttlSeconds: 60 },
    });
    expect(made.statusCode).toBe(201);
    expect(made.headers['cache-control']).toBe('no-store');
    const issued = made.json();
    expect(issued).toEqual({
      id: expect.any(String),
      token: expect.stringMatching(/^wjt_/),
      entryId: entry.id,
      expiresAt: '2026-01-01T00:01:00.000Z',
    });
    expect(made.headers.location).toBe(`/v1/join-tokens/${issued.id}`);
    const list = await world.request({ url: '/v1/join-tokens' });
    expect(list.json()).toEqual({
      items: [
        {
          id: issued.id,
          entryId: entry.id,
          createdAt: '2026-01-01T00:00:00.000Z',
          expiresAt: '2026-01-01T00:01:00.000Z',
          usedAt: null,
        },
      ],
      nextCursor: null,
      revision: 1,
    });
    expect(list.payload).not.toContain(issued.token);
  });

  it('live 10 minutes by default and a day at most', async () => {
    const world = await createWorld();
    const entry = await world.entries.create({ spiffeId: web });
    const post = (ttlSeconds?: number) =>
      world.request({ method: 'POST', url: '/v1/join-tokens', payload: { entryId: entry.id, ttlSeconds } });
    expect((await post()).json().expiresAt).toBe('2026-01-01T00:10:00.000Z');
    expectProblem(await post(86_401), 422, 'invalid-document');
    expectProblem(await post(0), 422, 'invalid-document');
  });

  it('are only for an entry that exists', async () => {
    const world = await createWorld();
    expectProblem(
      await world.request({ method: 'POST', url: '/v1/join-tokens', payload: { entryId: unknown } }),
      404,
      'not-found',
    );
  });

  it('can be withdrawn', async () => {
    const world = await createWorld();
    const entry = await world.entries.create({ spiffeId: web });
    const { id } = (
      await world.request({ method: 'POST', url: '/v1/join-tokens', payload: { entryId: entry.id } })
    ).json();
    const remove = () => world.request({ method: 'DELETE', url: `/v1/join-tokens/${id}` });
    expect((await remove()).statusCode).toBe(204);
    expectProblem(await remove(), 404, 'not-found');
  });
});
