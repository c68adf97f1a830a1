import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { AuditIndex } from '../../../src/control/ledger/index.ts';
import { MAX_AHEAD_MS } from '../../../src/control/ledger/index-batch.ts';
import type { AuditQuery } from '../../../src/core/audit/query.ts';
import { completion, decision } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { describeEachStore } from '../../support/stores.ts';
import { orders, receivedAt, TestLedger } from './test-ledger.ts';

const payments = 'spiffe://example.org/ns/bank/sa/payments';

describeEachStore('what the audit index does not take from a sidecar', (bench) => {
  async function setUp() {
    const store = await bench.open();
    const ledger = new TestLedger();
    const lines: Record<string, unknown>[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => lines.push(JSON.parse(line)) });
    const index = await AuditIndex.open({ store, ledger, clock: new FakeClock(), logger });
    const stop = new AbortController();
    const running = index.run(stop.signal);
    onTestFinished(async () => {
      stop.abort();
      await running;
    });
    const settle = () => expect.poll(() => index.position, { timeout: 5000 }).toBe(ledger.batches.length);
    const found = async (query: AuditQuery = {}) => (await index.search(query)).items;
    const ids = async (query: AuditQuery = {}) => (await found(query)).map((record) => record.id);
    const notes = () => store.db.selectFrom('audit_notes').selectAll().orderBy('leaf').orderBy('seq').execute();
    /** The kinds of what was warned about, in the order of the log. */
    const warned = () => lines.filter(({ level }) => level === 40).map(({ kind }) => kind);
    return { store, ledger, index, settle, found, ids, notes, warned, lines };
  }

  /** Ids of what a tail shows, with the status at that time, until the test ends. */
  function watch(index: AuditIndex): string[] {
    const shown: string[] = [];
    const stop = new AbortController();
    const items = index.tail({}, stop.signal);
    const running = (async () => {
      for await (const item of items) if (item.type === 'record') shown.push(`${item.record.id} ${item.record.status}`);
    })();
    onTestFinished(async () => {
      stop.abort();
      await running;
    });
    return shown;
  }

  it('a decision for another service than that of its sidecar is a note, and neither a record nor in the tail', async () => {
    const { ledger, index, settle, ids, notes, warned, lines } = await setUp();
    const shown = watch(index);
    const [own, forged, nameless] = [
      decision(),
      decision({ destination: payments }),
      decision({ destination: '', time: receivedAt + 2 * MAX_AHEAD_MS }),
    ];
    ledger.add([own, forged, completion(forged.call), nameless]);
    await settle();
    expect(await ids()).toEqual(['sidecar-1.1.1']);
    expect(await ids({ destination: payments })).toEqual([]);
    expect(await notes()).toEqual([
      {
        sidecar: 'sidecar-1',
        epoch: 1,
        seq: 2,
        leaf: 0,
        kind: 'foreign',
        time: receivedAt,
        detail: `Call ${forged.call} claims to be for ${payments}, but the sidecar that recorded it is that of ${orders}.`,
      },
      expect.objectContaining({ seq: 4, kind: 'foreign', detail: expect.stringContaining('for nobody') }),
    ]);
    await expect.poll(() => warned()).toEqual(['foreign', 'foreign']);
    expect(lines[0]).toMatchObject({ sidecar: 'sidecar-1', epoch: 1, seq: 2, leaf: 0 });
    // What comes behind it in the tail is the next record.
    ledger.add([decision()]);
    await expect.poll(() => shown).toEqual(['sidecar-1.1.1 null', 'sidecar-1.1.5 null']);
  });

  it('a call that goes out is the word of the sidecar of its caller, and of nobody else', async () => {
    const { ledger, settle, ids, notes } = await setUp();
    const out = { direction: 'outbound' } as const;
    ledger.add([
      decision({ ...out, source: orders, destination: payments }),
      decision({ ...out, source: payments, destination: orders }),
      decision({ source: orders, destination: payments }),
    ]);
    await settle();
    expect(await ids()).toEqual(['sidecar-1.1.1']);
    expect((await notes()).map(({ kind, seq }) => [kind, seq])).toEqual([
      ['foreign', 2],
      ['foreign', 3],
    ]);
  });

  it('a decision that compares equal to the verified identity only in another spelling is foreign', async () => {
    const { ledger, settle, ids, notes } = await setUp();
    const spellings = [`${orders}/`, orders.toUpperCase(), `${orders}2`, orders.slice(0, -1)];
    ledger.add(spellings.map((destination) => decision({ destination })));
    await settle();
    expect(await ids()).toEqual([]);
    expect((await notes()).map(({ kind }) => kind)).toEqual(spellings.map(() => 'foreign'));
  });

  it('a forged decision does not take the place of the own decision with the same call id', async () => {
    const { ledger, settle, ids, notes } = await setUp();
    const own = decision();
    ledger.add([{ ...own, destination: payments }, own]);
    await settle();
    expect(await ids()).toEqual(['sidecar-1.1.2']);
    expect((await notes()).map(({ kind, seq }) => [kind, seq])).toEqual([['foreign', 1]]);
  });

  it('a second decision with the call id of another one is a note, in the same batch and in a later one', async () => {
    const { ledger, index, settle, found, notes, warned } = await setUp();
    const shown = watch(index);
    const call = decision();
    ledger.add([call, { ...call, decision: 'deny', reason: 'default-deny' }]);
    await settle();
    ledger.add([{ ...call, path: '/other' }, call], 'sidecar-1', 2);
    await settle();
    expect((await found()).map(({ id, decision: what }) => [id, what])).toEqual([['sidecar-1.1.1', 'allow']]);
    expect(await notes()).toEqual([
      {
        sidecar: 'sidecar-1',
        epoch: 1,
        seq: 2,
        leaf: 0,
        kind: 'repeated-call',
        time: call.time,
        detail: `Call ${call.call} is recorded otherwise as sidecar-1.1.1, which is what is shown.`,
      },
      expect.objectContaining({ epoch: 2, seq: 1, leaf: 1, kind: 'repeated-call' }),
    ]);
    await expect.poll(() => warned()).toEqual(['repeated-call', 'repeated-call']);
    ledger.add([decision()], 'sidecar-2');
    await expect.poll(() => shown).toEqual(['sidecar-1.1.1 null', 'sidecar-2.1.1 null']);
  });

  it('texts that differ only in what no database can hold make two decisions of a call different', async () => {
    const { ledger, settle, notes } = await setUp();
    const call = decision({ path: '/a\0' });
    ledger.add([call, { ...call, path: '/a\ufffd' }]);
    await settle();
    expect((await notes()).map(({ kind }) => kind)).toEqual(['repeated-call']);
  });

  it('the same decision, shipped again in a later epoch, is shown once and needs no note', async () => {
    const { ledger, settle, ids, notes, warned } = await setUp();
    // More than share a statement.
    const events = Array.from({ length: 450 }, () => decision());
    ledger.add(events);
    ledger.add(events, 'sidecar-1', 2);
    ledger.add(events.slice(0, 1), 'sidecar-2');
    await settle();
    expect(new Set((await ids({ limit: 500 })).map((id) => id.split('.').slice(0, 2).join('.')))).toEqual(
      new Set(['sidecar-1.1', 'sidecar-2.1']),
    );
    expect(await ids({ limit: 500 })).toHaveLength(451);
    expect(await notes()).toEqual([]);
    expect(warned()).toEqual([]);
  });

  it('a decision from the future is listed under its receipt, with one note per batch of what was claimed', async () => {
    const { ledger, settle, found, notes, warned } = await setUp();
    const never = Date.UTC(9999, 11, 31, 23, 59, 59, 999);
    const [first, second] = [decision({ time: receivedAt + MAX_AHEAD_MS + 1 }), decision({ time: never })];
    ledger.add([decision({ time: receivedAt + 1 }), first, second, decision({ time: 0 })]);
    await settle();
    expect((await found()).map(({ sequence, time }) => [sequence, Date.parse(time)])).toEqual([
      [1, receivedAt + 1],
      [3, receivedAt],
      [2, receivedAt],
      [4, 0],
    ]);
    expect(await notes()).toEqual([
      {
        sidecar: 'sidecar-1',
        epoch: 1,
        seq: 2,
        leaf: 0,
        kind: 'clock',
        time: receivedAt,
        detail: JSON.stringify({ call: first.call, claimed: first.time, latest: never, decisions: 2 }),
      },
    ]);
    await expect.poll(() => warned()).toEqual(['clock']);
  });

  it('a decision up to five minutes ahead of its receipt keeps its time', async () => {
    const { ledger, settle, found, notes } = await setUp();
    ledger.add([decision({ time: receivedAt + MAX_AHEAD_MS })]);
    await settle();
    expect((await found()).map(({ time }) => Date.parse(time))).toEqual([receivedAt + 5 * 60_000]);
    expect(await notes()).toEqual([]);
  });

  it('an event that is wrong in two ways has a note for each', async () => {
    const { ledger, settle, notes } = await setUp();
    const call = decision();
    ledger.add([call]);
    ledger.add([{ ...call, time: receivedAt + 2 * MAX_AHEAD_MS }]);
    await settle();
    expect((await notes()).map(({ seq, kind }) => `${seq} ${kind}`).sort()).toEqual(['2 clock', '2 repeated-call']);
  });
});
