import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { get } from 'node:http';
import { describe, expect, it } from 'vitest';
import { identityRecord } from './audit.ts';
import { createWorld, expectProblem } from './world.ts';

const orders = 'spiffe://example.org/ns/shop/sa/orders';

describe('GET /v1/audit/identity', () => {
  it('shows identity events as they were recorded, and one by its id', async () => {
    const world = await createWorld();
    const record = identityRecord({
      action: 'jwt-svid',
      outcome: 'refused',
      audience: ['spiffe://example.org/ns/bank/sa/payments'],
      reason: 'forbidden: this agent serves no such entry.',
      expiresAt: null,
    });
    world.audit.identities.records.push(record);
    expect((await world.request({ url: '/v1/audit/identity' })).json()).toEqual({
      items: [record],
      nextCursor: null,
      revision: 0,
    });
    expect((await world.request({ url: `/v1/audit/identity/${record.id}` })).json()).toEqual(record);
    expectProblem(await world.request({ url: '/v1/audit/identity/inst.1.99' }), 404, 'not-found');
  });

  it('passes every filter on', async () => {
    const world = await createWorld();
    const query = `subject=${orders}*&actor=admin&action=entry.create&outcome=granted&entry=e1&serial=0a&since=15m`;
    await world.request({ url: `/v1/audit/identity?${query}&until=2026-01-01T00:00:00Z` });
    const now = world.clock.now();
    expect(world.audit.identities.lastQuery).toEqual({
      subject: `${orders}*`,
      actor: 'admin',
      action: 'entry.create',
      outcome: 'granted',
      entry: 'e1',
      serial: '0a',
      since: now - 15 * 60_000,
      until: Date.UTC(2026, 0, 1),
      limit: 50,
    });
  });

  it.each([
    ['action=coup', '/action'],
    ['outcome=allow', '/outcome'],
    ['subject=', '/subject'],
    ['since=yesterday', '/since'],
    ['source=10.0.0.7', '/source'],
    ['limit=501', '/limit'],
  ])('refuses %s, naming the parameter', async (query, pointer) => {
    const world = await createWorld();
    const problem = expectProblem(await world.request({ url: `/v1/audit/identity?${query}` }), 400, 'invalid');
    expect(problem.errors?.[0]?.pointer).toBe(pointer);
  });

  it('gives pages over one period, although an age moves with the clock', async () => {
    const world = await createWorld();
    for (let n = 0; n < 5; n++)
      world.audit.identities.records.push(identityRecord({ time: '2026-01-01T00:00:00.000Z' }));
    const first = (await world.request({ url: '/v1/audit/identity?since=1h&limit=2' })).json();
    const since = world.audit.identities.lastQuery?.since;
    expect(first.items).toHaveLength(2);
    await world.clock.advance(10 * 60_000);
    const url = `/v1/audit/identity?since=1h&limit=2&cursor=${encodeURIComponent(first.nextCursor)}`;
    const second = (await world.request({ url })).json();
    expect(world.audit.identities.lastQuery?.since).toBe(since);
    expect(second.items.map(({ id }: { id: string }) => id)).toEqual(
      world.audit.identities.records.slice(2, 4).map(({ id }) => id),
    );
    expectProblem(await world.request({ url: '/v1/audit/identity?cursor=abc' }), 400, 'invalid-cursor');
  });

  it('is for the administrator only', async () => {
    const world = await createWorld();
    for (const path of ['', '/x.1.1', '/tail']) {
      const url = `/v1/audit/identity${path}`;
      expectProblem(await world.request({ url, headers: { authorization: null } }), 401, 'unauthenticated');
    }
  });
});

describe('GET /v1/audit/identity/tail', () => {
  it('streams each matching event, and how many were lost, until the caller leaves', async () => {
    const world = await createWorld();
    const { url } = await world.listen();
    const request = get(`${url}/v1/audit/identity/tail?outcome=refused&subject=${orders}`, {
      headers: { authorization: `Bearer ${world.token}` },
      agent: false,
    });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    expect(response.headers['content-type']).toBe('text/event-stream');
    let seen = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      seen += chunk;
    });
    response.on('error', () => undefined);
    await expect.poll(() => world.audit.identities.openTails).toBe(1);
    const record = identityRecord({ outcome: 'refused', subject: orders, reason: 'a\n\nevent: x' });
    world.audit.identities.emit({ type: 'record', record: identityRecord() });
    world.audit.identities.emit({ type: 'record', record });
    world.audit.identities.emit({ type: 'lost', count: 7 });
    await expect.poll(() => seen).toContain('event: lost');
    const [, data] = /event: record\n(?:id: .*\n)?data: (.*)\n\n/.exec(seen) ?? [];
    expect(JSON.parse(data ?? '')).toEqual(record);
    expect(seen.match(/^event: /gm)).toHaveLength(2);
    request.destroy();
    await expect.poll(() => world.audit.identities.openTails).toBe(0);
  });
});
