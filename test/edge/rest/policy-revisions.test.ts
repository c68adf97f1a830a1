import { describe, expect, it } from 'vitest';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

const web = '/v1/policies/shop/web';
const yaml = { 'content-type': 'application/yaml' };

async function put(world: World, path: string, o: { query?: string; ifMatch?: string } = {}): Promise<number> {
  const response = await world.request({
    method: 'PUT',
    url: `${web}${o.query ?? ''}`,
    payload: policyText('web', { path }),
    headers: { ...yaml, ...(o.ifMatch !== undefined && { 'if-match': o.ifMatch }) },
  });
  expect(response.statusCode).toBeLessThan(300);
  return response.json<{ metadata: { revision: number } }>().metadata.revision;
}

function rollBack(world: World, payload: object, ifMatch: string | null = '*', url = `${web}:rollback`) {
  return world.request({ method: 'POST', url, payload, headers: { 'if-match': ifMatch } });
}

type Item = Readonly<Record<string, unknown>>;

describe('the revisions of a policy', () => {
  it('say who changed it, when, why and what', async () => {
    const world = await createWorld();
    await put(world, '/a', { query: '?reason=TICKET-1%20gr%C3%BC%C3%9Fe' });
    await world.clock.advance(1000);
    await put(world, '/b', { ifMatch: '"1"' });
    await world.request({ method: 'DELETE', url: `${web}?reason=no%20longer`, headers: { 'if-match': '*' } });
    const { items, nextCursor } = (await world.request({ url: `${web}/revisions` })).json();
    const common = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'web', author: 'admin', restores: null };
    expect(items).toEqual([
      {
        ...common,
        revision: 3,
        operation: 'delete',
        reason: 'no longer',
        time: '2026-01-01T00:00:01.000Z',
        previous: 2,
      },
      { ...common, revision: 2, operation: 'put', reason: null, time: '2026-01-01T00:00:01.000Z', previous: 1 },
      {
        ...common,
        revision: 1,
        operation: 'put',
        reason: 'TICKET-1 grüße',
        time: '2026-01-01T00:00:00.000Z',
        previous: null,
      },
    ]);
    expect(nextCursor).toBeNull();
    const second = (await world.request({ url: `${web}/revisions/2` })).json();
    expect(second).toMatchObject({ ...items[1], source: policyText('web', { path: '/b' }) });
    expect(second.diff).toMatch(/^--- shop\/web@1\n\+\+\+ shop\/web@2\n@@ .*\n(.*\n)*-.*"\/a".*\n\+.*"\/b".*\n/);
    expect((await world.request({ url: `${web}/revisions/3` })).json()).toMatchObject({ source: null });
  });

  it('are found by author and time, page by page; an age stays what it was on the first page', async () => {
    const world = await createWorld();
    for (let n = 0; n < 5; n += 1) {
      await put(world, `/${n}`, n === 0 ? {} : { ifMatch: '*' });
      await world.clock.advance(60_000);
    }
    const pages: number[][] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const at: string = cursor === '' ? '' : `&cursor=${cursor}`;
      const body = (await world.request({ url: `/v1/revisions?since=4m&author=admin&limit=2${at}` })).json();
      pages.push(body.items.map(({ revision }: Item) => revision));
      cursor = body.nextCursor;
      await world.clock.advance(60_000);
    }
    expect(pages).toEqual([
      [5, 4],
      [3, 2],
    ]);
    const listed = async (url: string) => (await world.request({ url })).json().items.length;
    expect(await listed('/v1/revisions?author=nobody')).toBe(0);
    expect(await listed('/v1/revisions?namespace=bank')).toBe(0);
    expect(await listed(`${web}/revisions?author=nobody`)).toBe(0);
    expect(await listed('/v1/revisions?until=2026-01-01T00:01:00Z')).toBe(1);
  });

  it('of what never was are not found; what is no revision, no time, no cursor is refused', async () => {
    const world = await createWorld();
    await put(world, '/a');
    expectProblem(await world.request({ url: '/v1/policies/shop/none/revisions' }), 404, 'not-found');
    expectProblem(await world.request({ url: `${web}/revisions/7` }), 404, 'not-found');
    expectProblem(await world.request({ url: '/v1/policies/bank/web/revisions/1' }), 404, 'not-found');
    for (const wrong of ['0', '-1', '1e3', '9999999999999999', 'x', '%00', "1'"])
      expectProblem(await world.request({ url: `${web}/revisions/${wrong}` }), 400, 'invalid');
    for (const wrong of ['since=soon', 'until=', 'author=', 'name=web', 'limit=0'])
      expectProblem(await world.request({ url: `/v1/revisions?${wrong}` }), 400, 'invalid');
    for (const wrong of ['x', '..', '1.2.x', '99999999999999999..x', '..AAAA'])
      expectProblem(await world.request({ url: `/v1/revisions?cursor=${wrong}` }), 400, 'invalid-cursor');
  });

  it('are for administrators only', async () => {
    const world = await createWorld();
    const headers = { authorization: null };
    for (const url of ['/v1/revisions', `${web}/revisions`, `${web}/revisions/1`])
      expectProblem(await world.request({ url, headers }), 401, 'unauthenticated');
    expectProblem(
      await world.request({ method: 'POST', url: `${web}:rollback`, payload: {}, headers }),
      401,
      'unauthenticated',
    );
  });

  it.each(['%0a', '%1b%5b2J', '', 'x'.repeat(1025)])('refuses the reason %j, and changes nothing', async (text) => {
    const world = await createWorld();
    await put(world, '/a');
    const change = { url: `${web}?reason=${text}`, headers: { ...yaml, 'if-match': '*' } };
    expectProblem(await world.request({ ...change, method: 'PUT', payload: policyText('web') }), 400, 'invalid');
    expectProblem(
      await world.request({ method: 'DELETE', url: change.url, headers: { 'if-match': '*' } }),
      400,
      'invalid',
    );
    const refused = await rollBack(world, { revision: 1, reason: decodeURIComponent(text) });
    expect(refused.statusCode).toBeGreaterThanOrEqual(400);
    expect((await world.request({ url: '/v1/revisions' })).json().items).toHaveLength(1);
  });
});

describe('rolling back', () => {
  it('makes a new revision with the old text, which says so', async () => {
    const world = await createWorld();
    await put(world, '/a');
    await put(world, '/b', { ifMatch: '*' });
    const response = await rollBack(world, { revision: 1, reason: 'it broke' }, '"2"');
    expect([response.statusCode, response.headers.etag]).toEqual([200, '"3"']);
    expect(response.json().source).toBe(policyText('web', { path: '/a' }));
    expect((await world.request({ url: web })).json()).toEqual(response.json());
    expect((await world.request({ url: `${web}/revisions/3` })).json()).toMatchObject({
      restores: 1,
      reason: 'it broke',
      author: 'admin',
      previous: 2,
    });
  });

  it('brings back what was deleted', async () => {
    const world = await createWorld();
    await put(world, '/a');
    await world.request({ method: 'DELETE', url: web, headers: { 'if-match': '"1"' } });
    const response = await rollBack(world, { revision: 1, reason: 'still needed' }, '"2"');
    expect([response.statusCode, response.headers.location]).toEqual([201, web]);
  });

  it('needs to be told what it replaces, and refuses what somebody changed', async () => {
    const world = await createWorld();
    await put(world, '/a');
    await put(world, '/b', { ifMatch: '*' });
    const body = { revision: 1, reason: 'x' };
    expectProblem(await rollBack(world, body, null), 428, 'precondition-required');
    expectProblem(await rollBack(world, body, '"1"'), 412, 'precondition-failed');
    expectProblem(await rollBack(world, body, 'W/"2"'), 412, 'precondition-failed');
    expectProblem(await rollBack(world, { ...body, revision: 9 }), 404, 'not-found');
    expectProblem(await rollBack(world, body, '*', '/v1/policies/shop/none:rollback'), 404, 'not-found');
    expect((await world.request({ url: web })).headers.etag).toBe('"2"');
  });

  it.each([
    [{}],
    [{ revision: 1 }],
    [{ reason: 'x' }],
    [{ revision: 0, reason: 'x' }],
    [{ revision: 1.5, reason: 'x' }],
    [{ revision: '1', reason: 'x' }],
    [{ revision: 2 ** 60, reason: 'x' }],
    [{ revision: 1, reason: 'x', force: true }],
  ])('refuses the body %j', async (body) => {
    const world = await createWorld();
    await put(world, '/a');
    expect((await rollBack(world, body)).statusCode).toBeGreaterThanOrEqual(400);
    expect((await rollBack(world, body)).statusCode).toBeLessThan(500);
    expect((await world.request({ url: '/v1/revisions' })).json().items).toHaveLength(1);
  });

  it('changes nothing in a dry run, and says what would be', async () => {
    const world = await createWorld();
    await put(world, '/a');
    await put(world, '/b', { ifMatch: '*' });
    const url = `${web}:rollback?dryRun=true`;
    const would = (await rollBack(world, { revision: 1, reason: 'x' }, '"2"', url)).json();
    expect(would).toMatchObject({ metadata: { revision: 0 }, warnings: [] });
    const same = (await rollBack(world, { revision: 2, reason: 'x' }, '"2"', url)).json();
    expect(same.warnings).toEqual([expect.objectContaining({ code: 'unchanged' })]);
    expect((await world.request({ url: '/v1/revisions' })).json().items).toHaveLength(2);
  });
});

describe('the text of a policy', () => {
  it.each([
    `\uFEFF${policyText('web')}`,
    `\n\n# above\n${policyText('web')}\n\n`,
    `---\n${policyText('web')}...\n`,
    policyText('web').replaceAll('\n', '\r\n'),
    policyText('web').trimEnd(),
  ])('comes back byte for byte: %j', async (source) => {
    const world = await createWorld();
    const bytes = Buffer.from(source);
    const response = await world.request({ method: 'PUT', url: web, payload: bytes, headers: yaml });
    expect(response.json().source).toBe(source);
    const raw = await world.request({ url: web, headers: { accept: 'application/yaml' } });
    expect(raw.rawPayload).toEqual(bytes);
  });
});
