import { describe, expect, it } from 'vitest';
import { auditRecord } from './audit.ts';
import { createWorld, expectProblem } from './world.ts';

describe('GET /v1/audit/events', () => {
  it('gives every filter to the index, times as milliseconds', async () => {
    const world = await createWorld();
    const query = new URLSearchParams({
      source: 'spiffe://example.org/ns/shop/sa/web',
      destination: 'spiffe://example.org/ns/shop/sa/orders',
      decision: 'deny',
      rule: 'shop/p@3#1',
      path: '/orders/*',
      trace: '0af7651916cd43dd8448eb211c80319c',
      since: '15m',
      until: '2026-01-01T01:00:00+01:00',
      limit: '7',
      cursor: '..0',
    });
    expect((await world.request({ url: `/v1/audit/events?${query}` })).json()).toEqual({
      items: [],
      nextCursor: null,
      revision: 0,
    });
    expect(world.audit.lastQuery).toEqual({
      source: 'spiffe://example.org/ns/shop/sa/web',
      destination: 'spiffe://example.org/ns/shop/sa/orders',
      decision: 'deny',
      rule: 'shop/p@3#1',
      path: '/orders/*',
      trace: '0af7651916cd43dd8448eb211c80319c',
      since: world.clock.now() - 15 * 60_000,
      until: world.clock.now(),
      limit: 7,
      cursor: '0',
    });
  });

  it('shows 50 by default, 500 at most, and where to go on', async () => {
    const world = await createWorld();
    world.audit.records.push(...Array.from({ length: 51 }, () => auditRecord()));
    const page = (await world.request({ url: '/v1/audit/events' })).json();
    expect(page.items).toHaveLength(50);
    expect(page.nextCursor).toBe('..50');
    expect((await world.request({ url: '/v1/audit/events?cursor=..50' })).json().items).toHaveLength(1);
    expectProblem(await world.request({ url: '/v1/audit/events?limit=501' }), 400, 'invalid');
  });

  it('refuses times that are none, and filters that do not exist', async () => {
    const world = await createWorld();
    for (const query of [
      'since=yesterday',
      'since=2026-01-01',
      'until=15',
      'until=2026-13-01T00:00:00Z',
      'since=2026-01-01T00:00:00',
      'decision=maybe',
      'trace=xyz',
      'sorce=x',
    ]) {
      const problem = expectProblem(await world.request({ url: `/v1/audit/events?${query}` }), 400, 'invalid');
      expect(problem.errors?.[0]?.pointer).toBe(`/${query.split('=')[0]}`);
    }
  });

  it('serves what callers chose as JSON strings and nothing else', async () => {
    const world = await createWorld();
    const path = '/</script><script>alert(1)</script>"\u2028';
    const record = auditRecord({
      operation: { protocol: 'http', method: 'GET', host: 'x\r\nSet-Cookie: a=b', path, port: 1 },
    });
    world.audit.records.push(record);
    const response = await world.request({ url: '/v1/audit/events' });
    expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(response.json().items).toEqual([record]);
  });
});

describe('GET /v1/audit/events/{id}', () => {
  it('is one call', async () => {
    const world = await createWorld();
    const record = auditRecord({ status: null, durationMs: null, proof: { state: 'pending', leaf: null } });
    world.audit.records.push(record);
    expect((await world.request({ url: `/v1/audit/events/${record.id}` })).json()).toEqual(record);
    expectProblem(await world.request({ url: '/v1/audit/events/none' }), 404, 'not-found');
  });
});
