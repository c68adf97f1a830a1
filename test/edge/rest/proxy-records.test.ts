import { describe, expect, it } from 'vitest';
import type { ProxyStatus } from '../../../src/control/registry/proxies.ts';
import { createWorld } from './world.ts';

const at = Date.UTC(2026, 0, 1);
const proxy: ProxyStatus = {
  instanceId: 'i-1',
  spiffeId: 'spiffe://example.org/ns/shop/sa/web',
  version: '0.1.0',
  connected: true,
  state: 'synced',
  serving: true,
  desiredRevision: 5,
  desiredChange: null,
  staleSince: null,
  acknowledgedRevision: 5,
  acknowledgedAt: at,
  connectedSince: at,
  lastSeen: at + 1,
  endpoints: [],
  lastError: null,
};

describe('GET /v1/proxies', () => {
  it('says how fresh the record of each sidecar is, asked of those that are on the page', async () => {
    const asked: unknown[] = [];
    const world = await createWorld({
      deps: {
        records: {
          of: async (proxies) => {
            asked.push(...proxies);
            return new Map([['i-1', { heardAt: at, staleSince: at, epoch: 3, gaps: 2 }]]);
          },
        },
      },
    });
    world.proxies.push(proxy, { ...proxy, instanceId: 'i-2', connectedSince: null });
    const { items } = (await world.request({ url: '/v1/proxies' })).json();
    const time = new Date(at).toISOString();
    expect(items).toMatchObject([
      { instanceId: 'i-1', record: { heardAt: time, staleSince: time, epoch: 3, gaps: 2 } },
      { instanceId: 'i-2', record: null },
    ]);
    expect(asked).toEqual([
      { instanceId: 'i-1', since: at },
      { instanceId: 'i-2', since: at + 1 },
    ]);
  });
});
