import { describe, expect, it } from 'vitest';
import type { ProxyObject } from '../../../src/cli/api.ts';
import { Client } from '../../../src/cli/client.ts';
import { untilInSync } from '../../../src/main/dev/setup.ts';
import { FakeClock } from '../../support/clock.ts';

function proxy(name: string, o: Partial<ProxyObject> = {}): ProxyObject {
  return {
    instanceId: `i-${name}`,
    spiffeId: `spiffe://example.org/ns/shop/sa/${name}`,
    version: '0.1.0',
    connected: true,
    state: 'synced',
    desiredRevision: 2,
    desiredChange: null,
    staleSince: null,
    acknowledgedRevision: 2,
    lastSeen: '2026-01-01T00:00:00Z',
    endpoints: [],
    ports: [],
    lastError: null,
    quarantined: false,
    quarantineRevision: null,
    ...o,
  };
}

/** The wait, beside a control plane that tells of these sidecars. */
function waiting(items: readonly ProxyObject[]) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const target = { url: new URL('http://127.0.0.1:1'), hint: '' };
  const client = new Client(target, { fetch: async () => Response.json({ items, nextCursor: null }) });
  return { clock, stop, result: untilInSync(client, { clock, signal: stop.signal }) };
}

describe('waiting for the sidecars', () => {
  it('ends at once when all are in sync, whatever else is or was connected', async () => {
    const gone = proxy('web', { instanceId: 'i-old', connected: false, state: 'disconnected' });
    const { result } = waiting([proxy('web'), gone, proxy('orders'), proxy('payments')]);
    expect(await result).toEqual([]);
  });

  it('ends after a while with those that are not', async () => {
    const { clock, result } = waiting([proxy('web', { state: 'pending' }), proxy('payments')]);
    let behind: readonly string[] | undefined;
    void result.then((names) => {
      behind = names;
    });
    await clock.advance(14_000);
    expect(behind).toBeUndefined();
    await clock.advance(2_000);
    expect(behind).toEqual(['web', 'orders']);
  });

  it('ends when told to stop, with nothing to tell', async () => {
    const { stop, result } = waiting([]);
    stop.abort();
    expect(await result).toEqual([]);
  });
});
