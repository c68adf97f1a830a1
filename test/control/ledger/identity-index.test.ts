import fc from 'fast-check';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { AuditIndex } from '../../../src/control/ledger/index.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { encodeEvent } from '../../../src/core/audit/canonical.ts';
import type { IdentityEvent } from '../../../src/core/audit/event.ts';
import { identityActions } from '../../../src/core/audit/event.ts';
import type { IdentityQuery } from '../../../src/core/audit/query.ts';
import { matchesIdentity } from '../../../src/core/audit/query.ts';
import { decision } from '../../support/audit.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { identityFacts } from '../../support/recorder.ts';
import { describeEachStore } from '../../support/stores.ts';
import { orders, receivedAt, TestLedger } from './test-ledger.ts';

const controlPlane = 'spiffe://example.org/writ/control-plane';
const start = Date.UTC(2026, 0, 1);
let count = 0;

function event(change: Partial<IdentityEvent> = {}): IdentityEvent {
  count += 1;
  return { ...identityFacts(), kind: 'identity', time: start + count, ...change };
}

describeEachStore('the index of identity events', (bench) => {
  async function setUp(o: { readonly ledger?: TestLedger; readonly store?: Store } = {}) {
    const store = o.store ?? (await bench.open());
    const ledger = o.ledger ?? new TestLedger();
    const lines: Record<string, unknown>[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => lines.push(JSON.parse(line)) });
    const index = await AuditIndex.open({ store, ledger, clock: new FakeClock(), logger });
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
    const ids = async (query: IdentityQuery = {}) => (await index.searchIdentities(query)).items.map(({ id }) => id);
    const notes = () => store.db.selectFrom('audit_notes').selectAll().orderBy('leaf').orderBy('seq').execute();
    return { store, ledger, index, end, add, ids, notes, lines };
  }

  it('shows an event with everything that was recorded, in a search and by its id', async () => {
    const { index, add } = await setUp();
    const issued = event({
      actor: 'spiffe://example.org/writ/agent/x509pop/7',
      entry: 'e1',
      instance: 'inst-1',
      serial: '0a1b',
      method: 'x509pop',
      selectors: ['unix:uid:1000', 'unix:user:"a\u0000b"'],
      audience: ['spiffe://example.org/x'],
      expiresAt: start + 3_600_000,
      source: '10.0.0.7',
    });
    const refusal = event({ outcome: 'refused', reason: 'forbidden: banned' });
    await add([issued, refusal]);
    const record = {
      id: 'control-1.1.1',
      time: new Date(issued.time).toISOString(),
      action: 'x509-svid',
      outcome: 'granted',
      subject: orders,
      actor: 'spiffe://example.org/writ/agent/x509pop/7',
      entry: 'e1',
      instance: 'inst-1',
      serial: '0a1b',
      method: 'x509pop',
      selectors: ['unix:uid:1000', 'unix:user:"a\u0000b"'],
      audience: ['spiffe://example.org/x'],
      expiresAt: '2026-01-01T01:00:00.000Z',
      reason: '',
      source: '10.0.0.7',
      recorder: 'control-1',
      epoch: 1,
      sequence: 1,
      proof: { state: 'pending', leaf: 0 },
    };
    expect((await index.searchIdentities({})).items).toEqual([
      expect.objectContaining({
        id: 'control-1.1.2',
        outcome: 'refused',
        reason: 'forbidden: banned',
        expiresAt: null,
      }),
      record,
    ]);
    expect(await index.getIdentity(record.id)).toEqual(record);
    for (const id of ['control-1.1.3', 'control-2.1.1', 'nonsense', "'; drop table"])
      await expectAppError(() => index.getIdentity(id), 'not-found', 'No identity event has this id.');
    expect((await index.search({})).items).toEqual([]);
  });

  it('finds by each filter, alone and together', async () => {
    const { add, ids } = await setUp();
    const agent = 'spiffe://example.org/writ/agent/join_token/7';
    await add([
      event({ time: start, subject: `${orders}2`, actor: 'admin', action: 'entry.create', entry: 'e1' }),
      event({ time: start + 10, subject: orders, actor: agent, entry: 'e2', serial: '0a' }),
      event({
        time: start + 20,
        subject: orders,
        actor: `${agent}1`,
        action: 'jwt-svid',
        outcome: 'refused',
        entry: 'e2',
      }),
    ]);
    const [first, second, third] = ['control-1.1.1', 'control-1.1.2', 'control-1.1.3'];
    expect(await ids({ subject: orders })).toEqual([third, second]);
    expect(await ids({ subject: `${orders}*` })).toEqual([third, second, first]);
    expect(await ids({ subject: '*' })).toEqual([third, second, first]);
    expect(await ids({ subject: 'spiffe://example.org/%' })).toEqual([]);
    expect(await ids({ actor: agent })).toEqual([second]);
    expect(await ids({ actor: `${agent}*` })).toEqual([third, second]);
    expect(await ids({ actor: 'admin' })).toEqual([first]);
    expect(await ids({ action: 'jwt-svid' })).toEqual([third]);
    expect(await ids({ outcome: 'refused' })).toEqual([third]);
    expect(await ids({ entry: 'e2' })).toEqual([third, second]);
    expect(await ids({ serial: '0a' })).toEqual([second]);
    expect(await ids({ since: start + 10 })).toEqual([third, second]);
    expect(await ids({ until: start + 10 })).toEqual([first]);
    expect(await ids({ entry: 'e2', outcome: 'granted' })).toEqual([second]);
    expect(await ids({ entry: 'e1', outcome: 'refused' })).toEqual([]);
  });

  it('agrees with the live filter about every event and every query', async () => {
    const { index, add } = await setUp();
    const letters = fc.string({
      unit: fc.constantFrom('a', 'b', '/', '%', '_', 'é', '😀', '\0', '\ud800'),
      maxLength: 3,
    });
    const text = fc.oneof(
      letters,
      letters.map((end) => `${'a'.repeat(199)}${end}`),
    );
    const events = fc.sample(
      fc.record({
        subject: text,
        actor: text,
        entry: letters,
        serial: letters,
        time: fc.nat(5),
        action: fc.constantFrom(...identityActions.slice(0, 2)),
      }),
      300,
    );
    await add(events.map((change) => event(change)));
    const all = (await index.searchIdentities({ limit: 500 })).items;
    expect(all).toHaveLength(300);
    const wanted = fc
      .oneof(
        text,
        text.map((start) => `${start}*`),
      )
      .filter((value) => value.isWellFormed() && !value.includes('\0'));
    const option = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });
    const queries = fc.record({
      subject: option(wanted),
      actor: option(wanted),
      action: option(fc.constantFrom(...identityActions.slice(0, 3))),
      entry: option(letters.filter((value) => value.isWellFormed() && !value.includes('\0'))),
      since: option(fc.nat(6)),
      until: option(fc.nat(6)),
    });
    await fc.assert(
      fc.asyncProperty(queries, async (query) => {
        const found = (await index.searchIdentities({ ...query, limit: 500 })).items.map(({ id }) => id);
        expect(found).toEqual(all.filter((record) => matchesIdentity(record, query)).map(({ id }) => id));
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
      const page: Awaited<ReturnType<AuditIndex['searchIdentities']>> = await index.searchIdentities({
        limit: 7,
        cursor,
      });
      seen.push(...page.items.map(({ sequence }) => sequence));
      cursor = page.nextCursor;
      await add([event({ time: start + 1000 })]);
    } while (cursor !== null);
    expect(seen).toEqual(Array.from({ length: 60 }, (_, n) => 60 - n));
  });

  it('refuses a cursor of another search, also of one over calls', async () => {
    const { index, add } = await setUp();
    await add([event(), event()]);
    await add([decision(), decision()], 'sidecar-1', orders);
    const message =
      'The cursor is not one that this listing returned, with the same filters. Start again without a cursor.';
    const { nextCursor } = await index.searchIdentities({ limit: 1 });
    const ofCalls = (await index.search({ limit: 1 })).nextCursor;
    for (const query of [{ cursor: nextCursor, subject: orders }, { cursor: ofCalls }]) {
      const refused = index.searchIdentities(query).catch((error: unknown) => error);
      expect(await refused, message).toMatchObject({ code: 'invalid-cursor' });
    }
    await expectAppError(() => index.searchIdentities({ limit: 501 }), 'invalid');
  });

  it('believes only a control plane: what others say of identities is a note and a warning', async () => {
    const { add, ids, notes, lines } = await setUp();
    await add([event({ action: 'authority.activate' }), decision()], 'sidecar-1', orders);
    await add([event()], 'sidecar-2', 'spiffe://example.org/writ/control-plane/x');
    await add([event()], 'sidecar-3', 'spiffe://example.org/writ/agent/join_token/1');
    await add([event()], 'sidecar-4', '');
    await add([event()]);
    expect(await ids()).toEqual(['control-1.1.1']);
    expect(await notes()).toEqual([
      {
        sidecar: 'sidecar-1',
        epoch: 1,
        seq: 1,
        leaf: 0,
        kind: 'foreign',
        time: receivedAt,
        detail: `An identity event (authority.activate) was recorded by ${orders}, which is no control plane.`,
      },
      expect.objectContaining({ sidecar: 'sidecar-2', kind: 'foreign' }),
      expect.objectContaining({ sidecar: 'sidecar-3', kind: 'foreign' }),
      expect.objectContaining({ sidecar: 'sidecar-4', kind: 'foreign' }),
    ]);
    expect(lines.map(({ kind }) => kind)).toEqual(['foreign', 'foreign', 'foreign', 'foreign']);
  });

  it('does not take calls from a control plane', async () => {
    const { index, add, notes } = await setUp();
    await add([decision()]);
    expect((await index.search({})).items).toEqual([]);
    expect((await notes()).map(({ kind }) => kind)).toEqual(['foreign']);
  });

  it('keeps an event of a kind or action that it does not know as a note, and goes on behind it', async () => {
    const { add, ids, notes } = await setUp();
    const unknownKind = Buffer.from('{"kind":"configuration","time":1}');
    const unknownAction = Buffer.from(encodeEvent(event()).toString().replace('x509-svid', 'ssh-certificate'));
    await add([event(), unknownKind, unknownAction, event()]);
    expect(await ids()).toEqual(['control-1.1.4', 'control-1.1.1']);
    expect((await notes()).map(({ seq, kind, detail }) => [seq, kind, detail])).toEqual([
      [2, 'unreadable', 'Not an audit event: its kind is unknown.'],
      [3, 'unreadable', 'Not an audit event: the field action is missing or out of range.'],
    ]);
  });

  it('is built again from nothing when it is ahead of the ledger: then it has what the ledger has, and nothing else', async () => {
    const { store, ledger, add, ids, end } = await setUp();
    await add(Array.from({ length: 9 }, () => event()));
    const before = await ids();
    await add([event()], 'control-2');
    await add([event()], 'control-3');
    await end();
    // As after a restore of the ledger from a backup.
    ledger.batches.splice(1);
    ledger.size.set(1);
    const again = await setUp({ ledger, store });
    await expect.poll(() => again.index.position, { timeout: 5000 }).toBe(1);
    expect(await again.ids()).toEqual(before);
    expect(before).toHaveLength(9);
  });

  it('takes the longest and most awkward texts that an event can hold', async () => {
    const { add, ids, index } = await setUp();
    const awkward = '\0\ud800𝒳é'.repeat(1000);
    const all = {
      subject: awkward,
      actor: awkward,
      entry: awkward,
      instance: awkward,
      serial: awkward,
      method: awkward,
    };
    await add([
      event({ ...all, reason: awkward, source: awkward, selectors: Array(64).fill(awkward), audience: [awkward] }),
    ]);
    const [record] = (await index.searchIdentities({})).items;
    expect(record?.subject.length).toBeGreaterThan(2040);
    expect(record?.subject.isWellFormed()).toBe(true);
    expect(await ids({ subject: record?.subject })).toEqual(['control-1.1.1']);
    expect(await ids({ actor: `${record?.actor.slice(0, 1500)}*` })).toEqual(['control-1.1.1']);
    expect(await ids({ entry: record?.entry, serial: record?.serial })).toEqual(['control-1.1.1']);
  });

  it('shows live what is indexed and matches, each event once, and no calls', async () => {
    const { index, add } = await setUp();
    const stop = new AbortController();
    const shown: string[] = [];
    const items = index.tailIdentities({ outcome: 'refused' }, stop.signal);
    const watching = (async () => {
      for await (const item of items) if (item.type === 'record') shown.push(item.record.id);
    })();
    await add([event(), event({ outcome: 'refused' }), event()]);
    await add([decision({ decision: 'deny', reason: 'default-deny' })], 'sidecar-1', orders);
    await add([event({ outcome: 'refused' })]);
    await expect.poll(() => shown).toEqual(['control-1.1.2', 'control-1.1.4']);
    stop.abort();
    await watching;
  });
});
