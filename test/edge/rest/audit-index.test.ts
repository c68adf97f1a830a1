import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { AuditIndex } from '../../../src/control/ledger/index.ts';
import type { LoggedBatch } from '../../../src/control/ledger/ledger.ts';
import { openStore } from '../../../src/control/store/store.ts';
import { cutBatch } from '../../../src/core/audit/batch.ts';
import { encodeEvent } from '../../../src/core/audit/canonical.ts';
import type { AuditEvent } from '../../../src/core/audit/event.ts';
import { FakeClock } from '../../support/clock.ts';
import { tempDirectory } from '../../support/temp.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem } from './world.ts';

/** The real index on a database of its own, following batches that a test puts into a ledger. */
async function createIndexedWorld() {
  const directory = await tempDirectory();
  const clock = new FakeClock();
  const store = await openStore({ kind: 'sqlite', path: join(directory, 'audit.db') }, { clock, logger: silentLogger });
  const batches: LoggedBatch[] = [];
  const size = new WatchSource(0);
  const ledger = {
    size,
    async *read(from: number) {
      yield* batches.slice(from);
    },
  };
  const index = await AuditIndex.open({ store, ledger, clock, logger: silentLogger });
  const stop = new AbortController();
  const running = index.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await running;
    await store.close();
  });
  const world = await createWorld({ deps: { audit: index } });
  const { privateKey } = generateKeyPairSync('ed25519');
  let firstSeq = 1;
  const record = async (events: readonly AuditEvent[]) => {
    const cut = cutBatch({
      instanceId: 'inst-1',
      epoch: 1,
      firstSeq,
      prevHash: Buffer.alloc(32),
      events: events.map(encodeEvent),
      privateKey,
    });
    firstSeq += events.length;
    const { batch, header } = cut;
    const leaf = batches.length;
    batches.push({
      leaf,
      instanceId: 'inst-1',
      spiffeId: 'spiffe://example.org/ns/shop/sa/orders',
      receivedAt: clock.now(),
      keyRecord: 1,
      header,
      batch,
    });
    size.set(batches.length);
    while (index.position < batches.length) await new Promise((resolve) => setImmediate(resolve));
  };
  return { world, record };
}

function call(world: World, n: number, path: string): AuditEvent {
  return {
    kind: 'decision',
    call: `01890000-0000-7000-8000-${String(n).padStart(12, '0')}`,
    time: world.clock.now() + n,
    source: 'spiffe://example.org/ns/shop/sa/web',
    destination: 'spiffe://example.org/ns/shop/sa/orders',
    protocol: 'http',
    method: 'GET',
    host: 'orders.shop.mesh',
    path,
    port: 9102,
    decision: n % 2 === 0 ? 'allow' : 'deny',
    reason: n % 2 === 0 ? 'allow-rule' : 'default-deny',
    rule: n % 2 === 0 ? 'shop/web@1#0' : 'default-deny',
    policyRevision: 1,
    traceId: '',
    tokenSubject: '',
    certificateSerial: '0a',
  };
}

describe('over the real index', () => {
  it('a search is paged without loss or repetition, also when its period is an age and time goes on', async () => {
    const { world, record } = await createIndexedWorld();
    await record(Array.from({ length: 7 }, (_, n) => call(world, n, `/orders/${n}`)));
    const paths: string[] = [];
    let cursor = '';
    do {
      await world.clock.advance(1_000);
      const url = `/v1/audit/events?since=1h&path=${encodeURIComponent('/orders/*')}&limit=3${cursor && `&cursor=${cursor}`}`;
      const page = (await world.request({ url })).json();
      paths.push(...page.items.map((item: { operation: { path: string } }) => item.operation.path));
      cursor = page.nextCursor ?? '';
    } while (cursor !== '');
    expect(paths).toEqual([6, 5, 4, 3, 2, 1, 0].map((n) => `/orders/${n}`));
  });

  it('a call comes with what shadow policies would have decided, AUDIT, plain text and end user, where there is any', async () => {
    const { world, record } = await createIndexedWorld();
    const marks = { shadowDecision: 'deny', shadowRule: 'shop/try@2#0', auditRule: 'shop/watch@3#1' } as const;
    const plain = { transport: 'plaintext', source: '', endUser: 'https://a.example/joe' } as const;
    await record(
      [call(world, 0, '/'), { ...call(world, 1, '/'), ...marks }, { ...call(world, 2, '/'), ...plain }].map(
        (event) => event as AuditEvent,
      ),
    );
    const { items } = (await world.request({ url: '/v1/audit/events?since=1h' })).json();
    expect(items).toMatchObject([
      { source: '', transport: 'plaintext', endUser: 'https://a.example/joe' },
      { shadow: { decision: 'deny', rule: 'shop/try@2#0' }, auditRule: 'shop/watch@3#1' },
      {},
    ]);
    for (const mark of ['shadow', 'auditRule', 'transport', 'endUser']) expect(items[2]).not.toHaveProperty(mark);
  });

  it('a cursor is good for its own search only', async () => {
    const { world, record } = await createIndexedWorld();
    await record(Array.from({ length: 3 }, (_, n) => call(world, n, '/')));
    const { nextCursor } = (await world.request({ url: '/v1/audit/events?since=1h&limit=1' })).json();
    const later = `1${nextCursor.slice(1)}`;
    for (const query of [
      `decision=deny&since=1h&cursor=${nextCursor}`,
      `cursor=${nextCursor}`,
      `since=2h&cursor=${later}0`,
      `since=1h&cursor=x`,
      'cursor=..x',
    ])
      expectProblem(await world.request({ url: `/v1/audit/events?${query}` }), 400, 'invalid-cursor');
  });

  it('an event is found by its id, completed, and by filters', async () => {
    const { world, record } = await createIndexedWorld();
    const denied = call(world, 1, '/secret');
    await record([call(world, 0, '/a'), denied]);
    const { items } = (await world.request({ url: '/v1/audit/events?decision=deny' })).json();
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({
      rule: 'default-deny',
      status: null,
      proof: { leaf: 0 },
      sidecar: 'inst-1',
      sequence: 2,
    });
    if (denied.kind !== 'decision') throw new Error('not a decision');
    await record([
      { kind: 'completion', call: denied.call, time: 1, status: 403, durationMs: 2, bytesIn: 0, bytesOut: 9 },
    ]);
    const one = (await world.request({ url: `/v1/audit/events/${items[0].id}` })).json();
    expect(one).toMatchObject({ status: 403, durationMs: 2 });
    expectProblem(await world.request({ url: '/v1/audit/events/inst-1.1.99' }), 404, 'not-found');
    expectProblem(await world.request({ url: '/v1/audit/events/nonsense' }), 404, 'not-found');
  });

  it('the tail shows a call when it is decided and again when it is over', async () => {
    const { world, record } = await createIndexedWorld();
    const { url } = await world.listen();
    const stop = new AbortController();
    const headers = { authorization: `Bearer ${world.token}` };
    const response = await fetch(`${url}/v1/audit/tail?path=/live`, { headers, signal: stop.signal });
    const live = call(world, 4, '/live');
    if (live.kind !== 'decision') throw new Error('not a decision');
    await record([live, call(world, 5, '/other')]);
    await record([
      { kind: 'completion', call: live.call, time: 1, status: 200, durationMs: 2, bytesIn: 0, bytesOut: 9 },
    ]);
    let seen = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      seen += decoder.decode(chunk, { stream: true });
      if (seen.split('event: record').length === 3) break;
    }
    const records = [...seen.matchAll(/^data: (.*)$/gm)].map(([, json]) => JSON.parse(json ?? ''));
    expect(records.map((one) => [one.operation.path, one.status])).toEqual([
      ['/live', null],
      ['/live', 200],
    ]);
    stop.abort();
  });
});
