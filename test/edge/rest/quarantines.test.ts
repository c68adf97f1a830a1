import { describe, expect, it } from 'vitest';
import type { ProxyStatus } from '../../../src/control/registry/proxies.ts';
import { createWorld } from './world.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';

function proxy(o: Partial<ProxyStatus> = {}): ProxyStatus {
  return {
    instanceId: 'i-1',
    spiffeId: WEB,
    version: '0.1.0',
    connected: true,
    state: 'synced',
    serving: true,
    desiredRevision: 4,
    desiredChange: null,
    staleSince: null,
    acknowledgedRevision: 4,
    acknowledgedAt: 0,
    connectedSince: 0,
    lastSeen: 0,
    endpoints: [],
    lastError: null,
    ...o,
  };
}

async function start(deps: Parameters<typeof createWorld>[0] = {}) {
  const world = await createWorld(deps);
  const put = (payload: unknown = { spiffeId: WEB, reason: 'INC-7' }, query = '') =>
    world.request({ method: 'POST', url: `/v1/quarantines${query}`, payload: payload as object });
  return { world, put };
}

describe('quarantine over REST', () => {
  it('is made, found at its location, listed and released', async () => {
    const { world, put } = await start();
    await world.entries.create({ spiffeId: WEB });
    const made = await put();
    expect(made.statusCode).toBe(201);
    const { id, warnings, ...rest } = made.json();
    expect(warnings).toEqual([]);
    expect(rest).toMatchObject({
      spiffeId: WEB,
      reason: 'INC-7',
      author: 'admin',
      released: null,
      enforcement: { connected: 0, obeying: 0, waiting: [], away: 0 },
    });
    expect(made.headers.location).toBe(`/v1/quarantines/${id}`);
    expect((await world.request({ url: `/v1/quarantines/${id}` })).json()).toEqual({ id, ...rest });
    expect((await world.request({ url: '/v1/quarantines' })).json().items).toEqual([{ id, ...rest }]);

    const release = { method: 'POST', url: `/v1/quarantines/${id}:release`, payload: { reason: 'clean' } } as const;
    const released = await world.request(release);
    expect(released.statusCode).toBe(200);
    expect(released.json()).toMatchObject({ id, released: { reason: 'clean', author: 'admin' } });
    expect((await world.request({ url: '/v1/quarantines' })).json().items).toEqual([]);
    expect((await world.request({ url: '/v1/quarantines?released=true' })).json().items).toMatchObject([{ id }]);
    expect(world.recorder.events.map((event) => event.action)).toEqual(['quarantine.put', 'quarantine.release']);
  });

  it('a second time is 200, with what there is and a warning', async () => {
    const { put } = await start();
    const first = (await put()).json();
    const second = await put({ spiffeId: WEB, reason: 'other' });
    expect(second.statusCode).toBe(200);
    expect(second.json()).toMatchObject({ id: first.id, reason: 'INC-7' });
    expect(second.json().warnings.map((each: { code: string }) => each.code)).toEqual([
      'unchanged',
      'unknown-identity',
    ]);
  });

  it('says which connected sidecars obey, which do not, and how many are away', async () => {
    const { world, put } = await start();
    const { id, revision } = (await put()).json();
    world.proxies.push(
      proxy({ instanceId: 'obeys', quarantineRevision: revision }),
      proxy({ instanceId: 'newer', quarantineRevision: revision + 3 }),
      proxy({ instanceId: 'older', quarantineRevision: revision - 1 }),
      proxy({ instanceId: 'knows-none' }),
      proxy({ instanceId: 'away', connected: false, quarantineRevision: revision }),
    );
    expect((await world.request({ url: `/v1/quarantines/${id}` })).json().enforcement).toEqual({
      connected: 4,
      obeying: 2,
      waiting: [`${WEB} (instance older)`, `${WEB} (instance knows-none)`],
      away: 1,
    });
  });

  it('is shown with each sidecar', async () => {
    const { world } = await start({ deps: { inQuarantine: (id) => id === WEB } });
    const orders = 'spiffe://example.org/ns/shop/sa/orders';
    world.proxies.push(proxy({ quarantineRevision: 9 }), proxy({ instanceId: 'i-2', spiffeId: orders }));
    expect((await world.request({ url: '/v1/proxies' })).json().items).toMatchObject([
      { spiffeId: WEB, quarantined: true, quarantineRevision: 9 },
      { spiffeId: orders, quarantined: false, quarantineRevision: null },
    ]);
  });

  it('a dry run says what would be, and changes nothing', async () => {
    const { world, put } = await start();
    const answer = await put(undefined, '?dryRun=true');
    expect(answer.statusCode).toBe(200);
    expect(answer.headers).not.toHaveProperty('location');
    expect(answer.json().warnings).toEqual([
      {
        code: 'unknown-identity',
        detail: `No entry and no sidecar has the identity ${WEB}. Is it written as it should be?`,
      },
    ]);
    expect((await world.request({ url: '/v1/quarantines' })).json().items).toEqual([]);
  });

  it('refuses what it cannot take as it is', async () => {
    const { world, put } = await start();
    const refused: readonly [unknown, number][] = [
      [{ spiffeId: WEB }, 422],
      [{ spiffeId: WEB, reason: '' }, 422],
      [{ spiffeId: WEB, reason: '\u001b[2J' }, 400],
      [{ spiffeId: 'web', reason: 'r' }, 400],
      [{ spiffeId: 'spiffe://example.org/writ/control-plane', reason: 'r' }, 400],
      [{ spiffeId: WEB, reason: 'r', until: 'tomorrow' }, 422],
    ];
    for (const [payload, status] of refused) expect((await put(payload)).statusCode).toBe(status);
    expect((await world.request({ url: '/v1/quarantines' })).json().items).toEqual([]);
  });

  it('nothing changes while it cannot be recorded', async () => {
    const { world, put } = await start();
    world.recorder.fail();
    expect((await put()).statusCode).toBe(503);
    expect((await world.request({ url: '/v1/quarantines' })).json().items).toEqual([]);
  });

  it('a release of what there is not is 404', async () => {
    const { world } = await start();
    const url = '/v1/quarantines/0199aaaa-0000-7000-8000-000000000000:release';
    expect((await world.request({ method: 'POST', url, payload: { reason: 'r' } })).statusCode).toBe(404);
  });
});
