import { expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { Entries } from '../../../src/control/authority/entries/entries.ts';
import { EntrySet } from '../../../src/control/authority/entries/entry-set.ts';
import { readRecordedCalls } from '../../../src/control/ledger/recorded-calls.ts';
import { Planner } from '../../../src/control/policies/plan.ts';
import { PlanReceipts, RECEIPT_LIFETIME_MS } from '../../../src/control/policies/plan-receipts.ts';
import { PolicyStore } from '../../../src/control/policies/store.ts';
import { Suggestions } from '../../../src/control/policies/suggest.ts';
import type { Store } from '../../../src/control/store/store.ts';
import type { DecisionEvent } from '../../../src/core/audit/event.ts';
import { MAX_RECORDED_TEXT } from '../../../src/core/audit/event.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { recordCalls } from '../../support/recorded-calls.ts';
import { describeEachStore } from '../../support/stores.ts';

const author = 'test';
const orders = 'spiffe://example.org/ns/shop/sa/orders';
const text = (name: string, spec: string) =>
  `apiVersion: writ.dev/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: shop}\nspec: ${spec}\n`;
const allow = (name: string, path: string) => text(name, `{rules: [{to: [{operation: {paths: ["${path}"]}}]}]}`);

describeEachStore('plans', (bench) => {
  async function setUp() {
    const store = await bench.open();
    const clock = new FakeClock();
    const policies = await PolicyStore.open({ store, clock, logger: silentLogger });
    const entries = new Entries({ store, trustDomain: 'example.org', clock });
    const entrySet = await EntrySet.open({ store, trustDomain: 'example.org', clock, logger: silentLogger });
    const receipts = new PlanReceipts({ store, clock });
    const options = {
      ...{ store, policies: policies.current, entries: entrySet, receipts, clock },
      ...{ trustDomain: 'example.org', rootNamespace: 'writ-system' },
    };
    return {
      ...{ store, clock, policies, entries, receipts },
      planner: new Planner(options),
      suggestions: new Suggestions(options),
      close: async () => {
        entrySet.close();
        await policies.close();
      },
    };
  }

  /** Calls of one kind each, a second apart, the newest now. */
  const seen = async (store: Store, clock: FakeClock, calls: readonly Partial<DecisionEvent>[]) =>
    await recordCalls(
      store,
      calls.map((call, i) => ({ destination: orders, time: clock.now() - (calls.length - i) * 1000, ...call })),
    );

  it('read every call of a window once, newest first, in pages', async () => {
    const { store, clock, close } = await setUp();
    const count = 12_000;
    const now = clock.now();
    // Many at one time, so that pages end between equal times.
    const calls = Array.from({ length: count }, (_, n) => ({
      time: now - Math.floor(n / 700) * 1000,
      path: `/orders/${n % 50}`,
    }));
    const ids = new Set(await recordCalls(store, [...calls, { time: now + 1000 }, { time: now - 3_600_000 }]));
    const pages = [];
    for await (const page of readRecordedCalls(store.db, { since: now - 60_000, until: now + 1 })) pages.push(page);
    expect(pages).toHaveLength(3);
    expect(pages.map((page) => page.from)).toEqual([...pages.map((page) => page.from)].sort((a, b) => b - a));
    expect(pages.at(-1)?.from).toBe(now - 60_000);
    const all = pages.flatMap((page) => page.calls);
    expect(all.reduce((sum, call) => sum + call.calls, 0)).toBe(count);
    expect(pages[0]?.calls).toHaveLength(50);
    for (const call of all) expect(ids.has(call.example)).toBe(true);
    const stop = new AbortController();
    stop.abort(new Error('gone'));
    await expect(readRecordedCalls(store.db, { since: 0, until: now }, stop.signal).next()).rejects.toThrow('gone');
    await close();
  });

  it('know which texts were cut', async () => {
    const { store, clock, close } = await setUp();
    const long = `/${'x'.repeat(MAX_RECORDED_TEXT - 2)}…`;
    await seen(store, clock, [{ path: long }, { path: '/short…' }]);
    const { value } = await readRecordedCalls(store.db, { since: 0, until: clock.now() }).next();
    expect(value?.calls.map((call) => [call.path.length, call.cut]).sort()).toEqual(
      [
        [MAX_RECORDED_TEXT, { host: false, path: true }],
        [7, undefined],
      ].sort(),
    );
    await close();
  });

  it('choose policies by the labels of entries, and use what the record proves only since the workload has them', async () => {
    const { store, clock, policies, entries, planner, close } = await setUp();
    const spec = '{selector: {matchLabels: {app: orders}}, rules: [{to: [{operation: {paths: ["/a"]}}]}]}';
    const denying = `{action: DENY, rules: [{when: [{key: "request.headers[x-debug]", values: ["1"]}]}]}`;
    await policies.put({ source: text('no', denying), author });
    const { policy } = await policies.put({ source: text('orders', spec), author });
    const label = { spiffeId: orders, selectors: ['unix:uid:1'], labels: { app: 'orders' } };
    const plan = async (put: string) => {
      const made = await planner.plan({ put: [put], author });
      return { made, flips: [made.newlyDenied.calls, made.newlyAllowed.calls, made.unknown.calls] };
    };
    const call = { path: '/a', rule: `shop/orders@${policy.revision}#0`, policyRevision: policy.revision };
    await seen(store, clock, [call]);
    const unlabelled = await plan(allow('orders', '/b'));
    expect(unlabelled.flips).toEqual([0, 0, 0]);
    expect(unlabelled.made.notes).toEqual([expect.stringContaining(`${orders} has no entry`)]);
    await entries.create({
      parentId: null,
      namespaces: [],
      federatesWith: [],
      dnsNames: [],
      hint: '',
      ...label,
    } as never);
    // The DENY may have matched: the entry is newer than the policies that the call was decided by.
    expect((await plan(text('orders', spec.replace('/a', '/b')))).flips).toEqual([0, 0, 1]);
    const { policy: later } = await policies.put({ source: allow('later', '/z'), author });
    await store.db.updateTable('audit_records').set({ policy_revision: later.revision }).execute();
    expect((await plan(text('orders', spec.replace('/a', '/b')))).flips).toEqual([1, 0, 0]);
    // A revision that was never in force for everybody proves nothing.
    await store.db
      .updateTable('audit_records')
      .set({ policy_revision: later.revision + 1 })
      .execute();
    expect((await plan(text('orders', spec.replace('/a', '/b')))).flips).toEqual([0, 0, 1]);
    await close();
  });

  it('are not ended by a caller that is no SPIFFE ID, nor take a namespace of others for the own', async () => {
    const { store, clock, policies, planner, close } = await setUp();
    await policies.put({ source: allow('orders', '/*'), author });
    await seen(store, clock, [
      { source: 'nonsense' },
      { source: 'spiffe://partner.org/ns/shop/sa/web' },
      { source: 'spiffe://example.org/ns/shop/sa/web' },
      { source: '' },
    ]);
    const out = text(
      'out',
      '{direction: Egress, rules: [{to: [{operation: {principals: ["example.org/ns/shop/sa/x"]}}]}]}',
    );
    const { newlyDenied, calls } = await planner.plan({ put: [out], author });
    expect([calls.recorded, newlyDenied.groups.map((group) => group.source)]).toEqual([
      4,
      ['spiffe://example.org/ns/shop/sa/web'],
    ]);
    await close();
  });

  it('say what they do not replay', async () => {
    const { planner, close } = await setUp();
    const limit =
      'apiVersion: writ.dev/v1\nkind: RateLimit\nmetadata: {name: l, namespace: shop}\nspec: {total: {requests: 1}}\n';
    const { notes, changes } = await planner.plan({ put: [limit], author });
    expect(changes).toMatchObject([{ kind: 'RateLimit', operation: 'create' }]);
    expect(notes).toEqual([
      expect.stringContaining('No call was recorded'),
      expect.stringContaining('What rate limit shop/l would do is not in this plan.'),
    ]);
    await close();
  });

  it('are two at a time', async () => {
    const { store, clock, planner, close } = await setUp();
    await seen(store, clock, [{}]);
    const running = [planner.plan({ put: [], author }), planner.plan({ put: [], author })];
    await expectAppError(planner.plan({ put: [], author }), 'exhausted', /Try again/);
    await Promise.all(running);
    await planner.plan({ put: [], author });
    await close();
  });

  it('leave a receipt for exactly their documents, against the policies as they are, for a day', async () => {
    const { clock, policies, planner, receipts, close } = await setUp();
    const put = [allow('a', '/a'), allow('b', '/b')];
    const key = (name: string) => ({ kind: 'AuthorizationPolicy', namespace: 'shop', name }) as const;
    const documents = [
      { ...key('b'), source: put[1] ?? '' },
      { ...key('a'), source: put[0] ?? '' },
    ];
    expect(await receipts.covers(documents)).toBe(false);
    await planner.plan({ put, author });
    await planner.plan({ put, author });
    expect(await receipts.covers(documents)).toBe(true);
    expect(await receipts.covers(documents.slice(1))).toBe(false);
    expect(
      await receipts.covers([documents[0] ?? { ...key('b'), source: '' }, { ...key('a'), source: allow('a', '/a2') }]),
    ).toBe(false);
    expect(await receipts.covers([documents[0] ?? { ...key('b'), source: '' }, { ...key('a'), source: null }])).toBe(
      false,
    );
    clock.advance(RECEIPT_LIFETIME_MS + 1);
    expect(await receipts.covers(documents)).toBe(false);
    await planner.plan({ put, author });
    expect(await receipts.covers(documents)).toBe(true);
    await policies.put({ source: allow('other', '/'), author });
    expect(await receipts.covers(documents)).toBe(false);
    await close();
  });

  it('leave no receipt, and say so, when they looked at less than the last day: an empty window shows nothing', async () => {
    const { clock, planner, receipts, close } = await setUp();
    const put = [allow('a', '/a')];
    const documents = [{ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a', source: put[0] ?? '' }] as const;
    const day = 24 * 60 * 60_000;
    const now = clock.now();
    const windows = [
      { since: now - 1 },
      { since: now - day + 1 },
      { since: now - 30 * day, until: now - day },
      { since: now + 1, until: now + 2 },
    ];
    for (const window of windows) {
      const { notes } = await planner.plan({ put, author, ...window });
      expect(notes).toContainEqual(expect.stringContaining('not the last 24 hours'));
      expect(await receipts.covers(documents)).toBe(false);
    }
    const { notes } = await planner.plan({ put, author, since: now - 7 * day });
    expect(notes).not.toContainEqual(expect.stringContaining('not the last 24 hours'));
    expect(await receipts.covers(documents)).toBe(true);
    await close();
  });

  it('suggestions name why there is nothing to admit', async () => {
    const { store, clock, suggestions, close } = await setUp();
    await seen(store, clock, [
      { decision: 'deny', reason: 'default-deny', rule: 'default-deny' },
      { source: '' },
      { method: 'G*T' },
    ]);
    const asked = { namespace: 'shop', service: 'orders' };
    const error = await expectAppError(suggestions.suggest(asked), 'not-found');
    expect(error.message).toMatch(/1 were denied since no rule matched .+, 2 cannot be named exactly by a rule/);
    const { suggestion, text: yaml } = await suggestions.suggest({ ...asked, withDenied: true });
    expect([suggestion.calls, suggestion.left]).toEqual([1, { plaintext: 1, caller: 0, text: 1 }]);
    expect(yaml).toContain('# Not admitted: 1 call that came in plain text, from nobody who could be named.\n');
    await close();
  });
});
