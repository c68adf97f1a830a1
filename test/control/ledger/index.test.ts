import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { AuditIndex } from '../../../src/control/ledger/index.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { cutBatch } from '../../../src/core/audit/batch.ts';
import type { AuditRecord, DecisionEvent } from '../../../src/core/audit/event.ts';
import type { AuditQuery } from '../../../src/core/audit/query.ts';
import { matches } from '../../../src/core/audit/query.ts';
import { completion, decision } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { describeEachStore } from '../../support/stores.ts';
import { receivedAt, TestLedger } from './test-ledger.ts';

const { privateKey } = generateKeyPairSync('ed25519');

describeEachStore('the audit index', (bench) => {
  async function setUp(ledger = new TestLedger(), store?: Store) {
    const own = store ?? (await bench.open());
    const clock = new FakeClock();
    const index = await AuditIndex.open({ store: own, ledger, clock, logger: silentLogger });
    const stop = new AbortController();
    const running = index.run(stop.signal);
    const end = async () => {
      stop.abort();
      await running;
    };
    onTestFinished(end);
    const settle = () => expect.poll(() => index.position, { timeout: 5000 }).toBe(ledger.batches.length);
    return { store: own, ledger, clock, index, end, settle };
  }

  async function calls(index: AuditIndex, query: AuditQuery): Promise<string[]> {
    return (await index.search(query)).items.map((record) => record.id);
  }

  it('shows a call with everything that was decided, and its completion when it has come', async () => {
    const { ledger, index, settle } = await setUp();
    const call = decision({ traceId: 'a'.repeat(32), tokenSubject: 'spiffe://example.org/user' });
    ledger.add([call]);
    await settle();
    const record: AuditRecord = {
      id: 'sidecar-1.1.1',
      time: new Date(call.time).toISOString(),
      source: call.source,
      destination: call.destination,
      operation: { protocol: 'http', method: 'GET', host: 'orders.shop.mesh', path: '/orders/1', port: 8080 },
      decision: 'allow',
      reason: 'allow-rule',
      rule: 'shop/orders@3#0',
      policyRevision: 3,
      status: null,
      durationMs: null,
      traceId: 'a'.repeat(32),
      tokenSubject: 'spiffe://example.org/user',
      certificateSerial: '0a1b',
      sidecar: 'sidecar-1',
      epoch: 1,
      sequence: 1,
      proof: { state: 'pending', leaf: 0 },
    };
    expect((await index.search({})).items).toEqual([record]);
    expect(await index.get(record.id)).toEqual(record);
    ledger.add([completion(call.call, { status: 503, durationMs: 17 })]);
    await settle();
    expect(await index.get(record.id)).toEqual({ ...record, status: 503, durationMs: 17 });
  });

  it('joins a completion in the same batch, in a later one, or in an earlier one, but only of the same sidecar', async () => {
    const { ledger, index, settle } = await setUp();
    const [same, later, earlier, foreign] = [decision(), decision(), decision(), decision()];
    ledger.add([completion(earlier.call, { status: 203 }), same, completion(same.call, { status: 201 }), later]);
    ledger.add([completion(later.call, { status: 202 }), earlier, foreign]);
    ledger.add([completion(foreign.call, { status: 299 })], 'sidecar-2');
    await settle();
    const found = (await index.search({})).items.map((record) => [record.sequence, record.status]);
    expect(found.sort()).toEqual(
      [
        [2, 201],
        [4, 202],
        [6, 203],
        [7, null],
      ].sort(),
    );
  });

  it('shows a call once that was recorded again in a later epoch', async () => {
    const { ledger, index, settle } = await setUp();
    const call = decision();
    ledger.add([call]);
    ledger.add([{ kind: 'gap', time: 1, reason: 'spool-lost', epoch: 1, fromSeq: 2 }, call], 'sidecar-1', 2);
    // The same call id from another sidecar is another call.
    ledger.add([call], 'sidecar-2');
    await settle();
    expect((await calls(index, {})).sort()).toEqual(['sidecar-1.1.1', 'sidecar-2.1.1']);
  });

  it('keeps gaps, and events that cannot be read, as notes in their place, and goes on behind them', async () => {
    const { store, ledger, index, settle } = await setUp();
    ledger.add([decision(), Buffer.from('no event'), decision()]);
    ledger.add([{ kind: 'gap', time: 77, reason: 'spool-corrupt', epoch: 1, fromSeq: 4 }], 'sidecar-1', 2);
    const broken = cutBatch({
      instanceId: 's',
      epoch: 1,
      firstSeq: 1,
      prevHash: Buffer.alloc(0),
      events: [Buffer.from('x')],
      privateKey,
    });
    ledger.batches.push({
      leaf: 2,
      instanceId: 'sidecar-3',
      spiffeId: '',
      receivedAt,
      keyRecord: 1,
      header: broken.header,
      batch: { ...broken.batch, events: Buffer.from('y') },
    });
    ledger.add([decision()]);
    await settle();
    expect(await calls(index, {})).toHaveLength(3);
    const notes = await store.db.selectFrom('audit_notes').selectAll().orderBy('sidecar').orderBy('epoch').execute();
    expect(notes).toEqual([
      {
        sidecar: 'sidecar-1',
        epoch: 1,
        seq: 2,
        leaf: 0,
        kind: 'unreadable',
        time: receivedAt,
        detail: 'Not an audit event: it is not JSON.',
      },
      {
        sidecar: 'sidecar-1',
        epoch: 2,
        seq: 1,
        leaf: 1,
        kind: 'gap',
        time: 77,
        detail: '{"kind":"gap","time":77,"reason":"spool-corrupt","epoch":1,"fromSeq":4}',
      },
      {
        sidecar: 'sidecar-3',
        epoch: 1,
        seq: 1,
        leaf: 2,
        kind: 'unreadable',
        time: receivedAt,
        detail: expect.stringMatching(/refused/),
      },
    ]);
  });

  it('takes whatever texts a caller has sent, and finds them again', async () => {
    const { ledger, index, settle } = await setUp();
    const paths = [
      '/nul\0inside',
      '/half\ud83d',
      '/ünï/😀',
      "/quote'; drop table audit_records; --",
      `/${'é'.repeat(2047)}`,
    ];
    const events = paths.map((path) => decision({ path, host: path, method: path, tokenSubject: path }));
    ledger.add(events);
    await settle();
    for (const [i, path] of paths.entries()) {
      expect(await calls(index, { path }), JSON.stringify(path)).toEqual([`sidecar-1.1.${i + 1}`]);
    }
    expect((await index.search({ path: '/nul*' })).items[0]?.operation.path).toBe('/nul\ufffdinside');
  });

  it('filters by every field, alone and together', async () => {
    const { ledger, index, settle } = await setUp();
    const web = 'spiffe://example.org/ns/shop/sa/web';
    const other = 'spiffe://example.org/ns/shop/sa/other';
    ledger.add([
      decision({ time: 1000, source: web, rule: 'shop/a@1#0', traceId: '1'.repeat(32) }),
      decision({ time: 2000, source: other, decision: 'deny', rule: 'default-deny', reason: 'default-deny' }),
      decision({ time: 3000, source: web, decision: 'deny', rule: 'shop/a@1#0' }),
    ]);
    ledger.add([decision({ time: 500, destination: other, rule: 'shop/b@1#0' })], 'sidecar-2', 1, other);
    await settle();
    const seqs = async (query: AuditQuery) => (await index.search(query)).items.map((record) => record.sequence);
    expect(await seqs({})).toEqual([3, 2, 1, 1]);
    expect(await calls(index, { source: web })).toEqual(['sidecar-1.1.3', 'sidecar-1.1.1', 'sidecar-2.1.1']);
    expect(await seqs({ source: `${web}*` })).toEqual([]);
    expect(await calls(index, { destination: other })).toEqual(['sidecar-2.1.1']);
    expect(await seqs({ decision: 'deny' })).toEqual([3, 2]);
    expect(await seqs({ rule: 'shop/a@1#0' })).toEqual([3, 1]);
    expect(await seqs({ trace: '1'.repeat(32) })).toEqual([1]);
    expect(await seqs({ since: 2000 })).toEqual([3, 2]);
    expect(await calls(index, { until: 2000 })).toEqual(['sidecar-1.1.1', 'sidecar-2.1.1']);
    expect(await seqs({ since: 1001, until: 3000 })).toEqual([2]);
    expect(await seqs({ source: web, decision: 'deny', since: 1 })).toEqual([3]);
    expect(await seqs({ source: 'nul\0' })).toEqual([]);
  });

  it('takes a trailing star of a path for a prefix, and every other character for itself', async () => {
    const { ledger, index, settle } = await setUp();
    const paths = [
      '/a',
      '/A',
      '/a%',
      '/a_b',
      '/aXb',
      '/a/b',
      '/a/*',
      '/b',
      '/a\u{10ffff}',
      '/a\ud7ff',
      '/a\ue000',
      '/%',
    ];
    ledger.add(paths.map((path, i) => decision({ path, time: i })));
    await settle();
    const found = async (path: string) => (await index.search({ path })).items.map((r) => r.operation.path).sort();
    for (const wanted of [
      '/a',
      '/a*',
      '/a%*',
      '/a_*',
      '/a/*',
      '/A*',
      '*',
      '/a\ud7ff*',
      '/a\u{10ffff}*',
      '/%*',
      '/c*',
      '/a/**',
    ]) {
      const expected = paths.filter((path) =>
        wanted.endsWith('*') ? path.startsWith(wanted.slice(0, -1)) : path === wanted,
      );
      expect(await found(wanted), wanted).toEqual(expected.sort());
    }
  });

  it('gives every record on exactly one page, newest first, also among equal times and while more arrive', async () => {
    const { ledger, index, settle } = await setUp();
    const times = [5, 5, 5, 1, 9, 5, 2, 9, 5, 5, 3];
    ledger.add(times.map((time) => decision({ time })));
    await settle();
    const seen: AuditRecord[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<AuditIndex['search']>> = await index.search({ limit: 3, cursor });
      seen.push(...page.items);
      cursor = page.nextCursor;
      ledger.add([decision({ time: 9 })]);
      await settle();
    } while (cursor !== null);
    expect(seen.map((record) => Date.parse(record.time))).toEqual([...times].sort((a, b) => b - a));
    expect(seen.map((record) => record.sequence)).toEqual([8, 5, 10, 9, 6, 3, 2, 1, 11, 7, 4]);
  });

  it('refuses limits out of range, cursors of another search and ids that are none', async () => {
    const { ledger, index, settle } = await setUp();
    ledger.add([decision(), decision()]);
    await settle();
    await expectAppError(index.search({ limit: 0 }), 'invalid', 'limit must be a whole number from 1 to 500.');
    await expectAppError(index.search({ limit: 501 }), 'invalid');
    const { nextCursor } = await index.search({ limit: 1 });
    await expectAppError(
      index.search({ limit: 1, cursor: nextCursor, decision: 'deny' }),
      'invalid-cursor',
      /^The cursor is not one/,
    );
    await expectAppError(index.search({ cursor: 'AAAA' }), 'invalid-cursor', /^The cursor is not one/);
    for (const id of [
      '',
      'x',
      'sidecar-1.1.9',
      'sidecar-1.1',
      'sidecar-1.1.0',
      `sidecar-1.1.${'9'.repeat(16)}`,
      "'.1.1",
      'nul\0.1.1',
    ]) {
      await expectAppError(index.get(id), 'not-found', 'No audit event has this id.');
    }
  });

  it('agrees with the live filter about every record and every query', async () => {
    const { ledger, index, settle } = await setUp();
    const pool = ['/', '/a', '/a/b', '/a/B', '/ab', '/b', '/a*'];
    const events = Array.from({ length: 40 }, (_, i) =>
      decision({
        time: 1000 + (i % 7),
        path: pool[i % pool.length] ?? '/',
        decision: i % 3 === 0 ? 'deny' : 'allow',
        rule: i % 2 === 0 ? 'default-deny' : 'a/b@1#0',
      }),
    );
    ledger.add(events);
    await settle();
    const all = (await index.search({ limit: 500 })).items;
    expect(all).toHaveLength(40);
    const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
    const query = fc.record({
      path: maybe(fc.constantFrom(...pool, '/*', '/a/*', '*', '/zz')),
      decision: maybe(fc.constantFrom('allow' as const, 'deny' as const)),
      rule: maybe(fc.constantFrom('default-deny', 'a/b@1#0', 'none')),
      since: maybe(fc.integer({ min: 998, max: 1008 })),
      until: maybe(fc.integer({ min: 998, max: 1008 })),
    });
    await fc.assert(
      fc.asyncProperty(query, async (q) => {
        const found = (await index.search({ ...q, limit: 500 })).items;
        expect(found).toEqual(all.filter((record) => matches(record, q)));
      }),
      { numRuns: 60 },
    );
  });

  it('goes on where it was after a restart, and counts nothing twice', async () => {
    const { store, ledger, settle, end } = await setUp();
    ledger.add([decision(), decision()]);
    await settle();
    await end();
    ledger.add([decision()]);
    const again = await setUp(ledger, store);
    await again.settle();
    expect((await calls(again.index, {})).sort()).toEqual(['sidecar-1.1.1', 'sidecar-1.1.2', 'sidecar-1.1.3']);
  });

  it('is built again from nothing when it is ahead of the ledger', async () => {
    const { store, ledger, settle, end } = await setUp();
    ledger.add([decision()]);
    ledger.add([decision()]);
    await settle();
    await end();
    const restored = new TestLedger();
    const event: DecisionEvent = decision();
    restored.add([event], 'sidecar-9');
    const again = await setUp(restored, store);
    await again.settle();
    expect(await calls(again.index, {})).toEqual(['sidecar-9.1.1']);
  });

  it('tries again after a failure, also when the failure came behind the commit', async () => {
    const { store, ledger, clock, index, settle } = await setUp();
    ledger.damagedAt = 1;
    ledger.add([decision()]);
    await expect.poll(() => index.position).toBe(1);
    ledger.add([decision()]);
    await clock.advance(1000);
    expect(index.position).toBe(1);
    // As if the commit had gone through and only its answer was lost.
    await store.db.updateTable('audit_cursor').set({ leaf: 2 }).execute();
    ledger.damagedAt = undefined;
    ledger.add([decision()]);
    await clock.advance(20_000);
    await settle();
    expect(await calls(index, {})).toEqual(['sidecar-1.1.3', 'sidecar-1.1.1']);
  });

  it('never goes back, although another process that lags behind writes the same index', async () => {
    const behind = new TestLedger();
    const { store, ledger, settle } = await setUp();
    const lagging = await setUp(behind, store);
    for (let i = 0; i < 3; i++) ledger.add([decision()]);
    await settle();
    behind.add([decision()]);
    const position = async () => {
      await lagging.clock.advance(20_000);
      return lagging.index.position;
    };
    await expect.poll(position).toBe(3);
    expect(await store.db.selectFrom('audit_cursor').select('leaf').execute()).toEqual([{ leaf: 3 }]);
  });

  it('shows live what is indexed and matches, and again when it is completed', async () => {
    const { ledger, index, settle } = await setUp();
    const stop = new AbortController();
    const denied: string[] = [];
    const tail = (async () => {
      for await (const item of index.tail({ decision: 'deny' }, stop.signal)) {
        if (item.type === 'record') denied.push(`${item.record.sequence} ${item.record.status}`);
      }
    })();
    const [allow, deny, both] = [decision(), decision({ decision: 'deny' }), decision({ decision: 'deny' })];
    ledger.add([allow, deny]);
    await settle();
    ledger.add([
      completion(allow.call),
      completion(deny.call, { status: 403 }),
      both,
      completion(both.call, { status: 404 }),
    ]);
    await settle();
    await expect.poll(() => denied).toEqual(['2 null', '2 403', '5 404']);
    stop.abort();
    await tail;
  });
});
