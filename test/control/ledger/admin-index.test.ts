import fc from 'fast-check';
import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { toEvent } from '../../../src/control/ledger/admin-recorder.ts';
import { AuditIndex } from '../../../src/control/ledger/index.ts';
import { leafIn } from '../../../src/control/ledger/log/open.ts';
import type { Store } from '../../../src/control/store/store.ts';
import type { AdminEvent } from '../../../src/core/audit/admin-event.ts';
import { adminActions, adminOutcomes } from '../../../src/core/audit/admin-event.ts';
import type { AdminQuery } from '../../../src/core/audit/query.ts';
import { matchesAdmin } from '../../../src/core/audit/query.ts';
import { decision } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { describeEachStore } from '../../support/stores.ts';
import { orders, receivedAt, TestLedger } from './test-ledger.ts';

const controlPlane = 'spiffe://example.org/writ/control-plane';
const start = Date.UTC(2026, 0, 1);
let count = 0;

function event(change: Partial<AdminEvent> = {}): AdminEvent {
  count += 1;
  return toEvent({ action: 'call', outcome: 'done', actor: 'ann', ...change }, start + count);
}

describeEachStore('the index of administrative events', (bench) => {
  async function setUp(o: { readonly ledger?: TestLedger; readonly store?: Store } = {}) {
    const store = o.store ?? (await bench.open());
    const ledger = o.ledger ?? new TestLedger();
    const index = await AuditIndex.open({ store, ledger, clock: new FakeClock(), logger: silentLogger });
    const stop = new AbortController();
    const running = index.run(stop.signal);
    const end = async () => {
      stop.abort();
      await running;
    };
    onTestFinished(end);
    const add = async (events: Parameters<TestLedger['add']>[0], recorder = 'control-1', spiffeId = controlPlane) => {
      ledger.add(events, recorder, 1, spiffeId);
      await expect.poll(() => index.position, { timeout: 5000 }).toBe(ledger.batches.length);
    };
    const sequences = async (query: AdminQuery = {}) =>
      (await index.searchAdmins({ limit: 500, ...query })).items.map(({ sequence }) => sequence);
    return { store, ledger, index, end, add, sequences };
  }

  it('shows an event with everything that was recorded, in a search, by its id, and to proofs', async () => {
    const { index, add } = await setUp();
    const put = event({
      role: 'editor',
      credential: 't1',
      source: '10.0.0.7',
      operation: 'putPolicy',
      permission: 'policies:write',
      object: '/v1/policies/shop/"a\u0000b"',
      query: 'reason=x',
      request: 'r1',
      status: 201,
      count: 3,
      lastTime: start + 5000,
      before: 'aa',
      after: 'bb',
      detail: '+x\n',
      reason: 'y',
    });
    await add([event({ time: start }), put]);
    const record = {
      id: 'control-1.1.2',
      time: new Date(put.time).toISOString(),
      action: 'call',
      outcome: 'done',
      settled: true,
      actor: 'ann',
      role: 'editor',
      credential: 't1',
      source: '10.0.0.7',
      operation: 'putPolicy',
      permission: 'policies:write',
      object: '/v1/policies/shop/"a\ufffdb"',
      query: 'reason=x',
      request: 'r1',
      status: 201,
      count: 3,
      lastTime: '2026-01-01T00:00:05.000Z',
      before: 'aa',
      after: 'bb',
      detail: '+x\n',
      reason: 'y',
      recorder: 'control-1',
      epoch: 1,
      sequence: 2,
      proof: { state: 'pending', leaf: 0 },
    };
    expect((await index.searchAdmins({})).items[0]).toEqual(record);
    expect(await index.getAdmin(record.id)).toEqual(record);
    expect(await leafIn(index, record.id)).toBe(0);
    for (const id of ['control-1.1.3', 'nonsense']) {
      await expectAppError(() => index.getAdmin(id), 'not-found', 'No administrative event has this id.');
      await expectAppError(() => leafIn(index, id), 'not-found');
    }
    expect((await index.search({})).items).toEqual([]);
    expect((await index.searchIdentities({})).items).toEqual([]);
  });

  it('finds by each filter, alone and together', async () => {
    const { add, sequences } = await setUp();
    await add([
      event({
        time: start,
        actor: 'ann',
        operation: 'putPolicy',
        permission: 'policies:write',
        object: '/v1/policies/a/b',
      }),
      event({ time: start + 10, actor: 'anna', outcome: 'refused', permission: 'policies:read', source: '10.0.0.7' }),
      event({ time: start + 20, actor: 'bob', action: 'sign-in', object: '/v1/policies/a', request: 'r1' }),
    ]);
    expect(await sequences({ actor: 'ann' })).toEqual([1]);
    expect(await sequences({ actor: 'ann*' })).toEqual([2, 1]);
    expect(await sequences({ action: 'sign-in' })).toEqual([3]);
    expect(await sequences({ outcome: 'refused' })).toEqual([2]);
    expect(await sequences({ operation: 'putPolicy' })).toEqual([1]);
    expect(await sequences({ permission: 'policies:*' })).toEqual([2, 1]);
    expect(await sequences({ permission: 'policies:write' })).toEqual([1]);
    expect(await sequences({ object: '/v1/policies/a' })).toEqual([3]);
    expect(await sequences({ object: '/v1/policies/a*' })).toEqual([3, 1]);
    expect(await sequences({ address: '10.0.0.7' })).toEqual([2]);
    expect(await sequences({ request: 'r1' })).toEqual([3]);
    expect(await sequences({ since: start + 10 })).toEqual([3, 2]);
    expect(await sequences({ until: start + 10 })).toEqual([1]);
    expect(await sequences({ actor: 'ann*', outcome: 'done' })).toEqual([1]);
  });

  it('leaves out what was begun once the record says how it ended, in whichever batch, and shows what never ended', async () => {
    const { add, sequences, index } = await setUp();
    await add([event({ outcome: 'begun', request: 'a' }), event({ outcome: 'begun', request: 'b' })]);
    expect(await sequences()).toEqual([2, 1]);
    await add([event({ outcome: 'done', request: 'a' })]);
    expect(await sequences()).toEqual([3, 2]);
    expect(await sequences({ outcome: 'begun' })).toEqual([2, 1]);
    expect((await index.getAdmin('control-1.1.1')).settled).toBe(true);
    expect((await index.getAdmin('control-1.1.2')).settled).toBe(false);
    await add([event({ outcome: 'begun', request: 'c' }), event({ outcome: 'refused', request: 'c' })]);
    expect(await sequences()).toEqual([5, 3, 2]);
    // Another control plane knows nothing of it, whatever it calls its requests.
    await add([event({ outcome: 'done', request: 'b' })], 'control-2');
    expect((await index.getAdmin('control-1.1.2')).settled).toBe(false);
    // What has no request is of nobody's.
    await add([event({ outcome: 'begun' }), event()]);
    expect((await index.getAdmin('control-1.1.6')).settled).toBe(false);
    await add([event()]);
    expect((await index.getAdmin('control-1.1.6')).settled).toBe(false);
  });

  it('agrees with the live filter about every event and every query', async () => {
    const { index, add } = await setUp();
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '/', ':', '%', '_', 'é', '😀'), maxLength: 3 });
    const long = fc.oneof(
      letters,
      letters.map((end) => `${'a'.repeat(199)}${end}`),
    );
    const short = fc.constantFrom('', 'a', 'b');
    const events = fc.sample(
      fc.record({
        actor: letters,
        permission: letters,
        object: long,
        operation: short,
        request: short,
        source: short,
        time: fc.nat(5),
        action: fc.constantFrom(...adminActions.slice(0, 2)),
        outcome: fc.constantFrom(...adminOutcomes),
      }),
      300,
    );
    await add(events.slice(0, 150).map((change) => event(change)));
    await add(events.slice(150).map((change) => event(change)));
    const begun = (await index.searchAdmins({ limit: 500, outcome: 'begun' })).items;
    const others = (await index.searchAdmins({ limit: 500 })).items.filter(({ outcome }) => outcome !== 'begun');
    const order = (one: (typeof begun)[number]) => Date.parse(one.time) * 1000 + one.sequence;
    const all = [...begun, ...others].sort((a, b) => order(b) - order(a));
    expect(all).toHaveLength(300);
    const option = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });
    const wanted = (text: fc.Arbitrary<string>) =>
      fc.oneof(
        text,
        text.map((prefix) => `${prefix}*`),
      );
    const queries = fc.record({
      actor: option(wanted(letters)),
      permission: option(wanted(letters)),
      object: option(wanted(long)),
      operation: option(short),
      request: option(short),
      address: option(short),
      action: option(fc.constantFrom(...adminActions.slice(0, 3))),
      outcome: option(fc.constantFrom(...adminOutcomes)),
      since: option(fc.nat(6)),
      until: option(fc.nat(6)),
    });
    await fc.assert(
      fc.asyncProperty(queries, async (query) => {
        const found = (await index.searchAdmins({ ...query, limit: 500 })).items.map(({ id }) => id);
        expect(found).toEqual(all.filter((record) => matchesAdmin(record, query)).map(({ id }) => id));
      }),
      { numRuns: 80 },
    );
  });

  it('gives every event on exactly one page, newest first, also among equal times and while more arrive', async () => {
    const { index, add } = await setUp();
    await add(Array.from({ length: 60 }, (_, n) => event({ time: start + Math.floor(n / 7) })));
    const seen: number[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<AuditIndex['searchAdmins']>> = await index.searchAdmins({ limit: 7, cursor });
      seen.push(...page.items.map(({ sequence }) => sequence));
      cursor = page.nextCursor;
      await add([event({ time: start + 1000 })]);
    } while (cursor !== null);
    expect(seen).toEqual(Array.from({ length: 60 }, (_, n) => 60 - n));
    const { nextCursor } = await index.searchAdmins({ limit: 1 });
    await expectAppError(() => index.searchAdmins({ cursor: nextCursor, actor: 'ann' }), 'invalid-cursor');
    await expectAppError(() => index.searchIdentities({ cursor: nextCursor }), 'invalid-cursor');
  });

  it('believes only a control plane: what others say of administration is a note', async () => {
    const { store, add, sequences } = await setUp();
    await add([event({ action: 'configuration' })], 'sidecar-1', orders);
    await add([event()], 'sidecar-2', 'spiffe://example.org/writ/control-plane/x');
    await add([event()], 'sidecar-3', '');
    await add([event()]);
    expect(await sequences()).toEqual([1]);
    const notes = await store.db.selectFrom('audit_notes').selectAll().orderBy('leaf').execute();
    expect(notes.map(({ kind }) => kind)).toEqual(['foreign', 'foreign', 'foreign']);
    expect(notes[0]).toMatchObject({
      time: receivedAt,
      detail: `An administrative event (configuration) was recorded by ${orders}, which is no control plane.`,
    });
  });

  it('is built again from the ledger, with the same answers', async () => {
    const { store, ledger, index, add, sequences, end } = await setUp();
    await add([event({ outcome: 'begun', request: 'a' }), event({ outcome: 'begun', request: 'b' })]);
    await add([event({ outcome: 'done', request: 'a' })]);
    const before = [await sequences(), await sequences({ outcome: 'begun' })];
    const settled = (await index.getAdmin('control-1.1.1')).settled;
    await add([event()], 'control-2');
    await add([event()], 'control-3');
    await end();
    // As after a restore of the ledger from a backup.
    ledger.batches.splice(2);
    ledger.size.set(2);
    const again = await setUp({ ledger, store });
    await expect.poll(() => again.index.position, { timeout: 5000 }).toBe(2);
    expect([await again.sequences(), await again.sequences({ outcome: 'begun' })]).toEqual(before);
    expect((await again.index.getAdmin('control-1.1.1')).settled).toBe(settled);
  });

  it('takes the longest and most awkward texts that an event can hold', async () => {
    const { add, index, sequences } = await setUp();
    const awkward = '\0\ud800𝒳é'.repeat(5000);
    await add([event({ actor: awkward, object: awkward, query: awkward, detail: awkward, reason: awkward })]);
    const [record] = (await index.searchAdmins({})).items;
    expect(record?.object.length).toBeGreaterThan(2040);
    expect(record?.object.isWellFormed()).toBe(true);
    expect(await sequences({ object: `${record?.object.slice(0, 1500)}*` })).toEqual([1]);
    expect(await sequences({ actor: record?.actor })).toEqual([1]);
  });

  it('shows live what is indexed and matches, what was begun only while it has no end, and nothing else', async () => {
    const { index, add } = await setUp();
    const stop = new AbortController();
    const shown: string[] = [];
    const items = index.tailAdmins({ actor: 'ann' }, stop.signal);
    const watching = (async () => {
      for await (const item of items) if (item.type === 'record') shown.push(item.record.id);
    })();
    await add([event({ outcome: 'begun', request: 'a' }), event({ request: 'a' }), event({ actor: 'bob' })]);
    await add([decision()], 'sidecar-1', orders);
    await add([event({ outcome: 'begun', request: 'b' })]);
    await add([event({ request: 'b' })]);
    await expect.poll(() => shown).toEqual(['control-1.1.2', 'control-1.1.4', 'control-1.1.5']);
    stop.abort();
    await watching;
  });
});
