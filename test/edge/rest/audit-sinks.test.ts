import { describe, expect, it } from 'vitest';
import type { SinkStatus } from '../../../src/control/ledger/sinks/sink.ts';
import { createWorld } from './world.ts';

const at = Date.UTC(2026, 0, 1);
const status: SinkStatus = {
  ...{
    name: 'siem',
    type: 'syslog',
    format: 'cef',
    guarantee: 'best-effort',
    state: 'failing',
    since: at,
    position: 3,
  },
  ...{ lagBatches: 2, lagMs: 61_500, delivered: 9, rejected: 1, lastDeliveredAt: null },
  lastError: { at, message: 'unavailable: The syslog receiver cannot be written: ECONNREFUSED.' },
};

describe('GET /v1/audit/sinks', () => {
  it('says how far each sink is behind and what is wrong with it', async () => {
    const world = await createWorld({ deps: { sinks: () => [status] } });
    const response = await world.request({ url: '/v1/audit/sinks' });
    const { lagMs: _, ...same } = status;
    const time = '2026-01-01T00:00:00.000Z';
    expect(response.json()).toEqual({
      items: [{ ...same, since: time, lagSeconds: 61, lastError: { at: time, message: status.lastError?.message } }],
    });
  });

  it('is empty where none is configured', async () => {
    const world = await createWorld();
    expect((await world.request({ url: '/v1/audit/sinks' })).json()).toEqual({ items: [] });
  });
});
