import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WatchSource } from '../../../src/base/watch.ts';
import { authorisedEntries } from '../../../src/control/authority/entries/authorised.ts';
import type { Entry } from '../../../src/control/authority/entries/entry.ts';
import type { EntrySnapshot } from '../../../src/control/authority/entries/entry-index.ts';
import { EntryIndex } from '../../../src/control/authority/entries/entry-index.ts';
import type { EntryView, KnownAgent } from '../../../src/control/registry/agent-views.ts';
import { AgentViews } from '../../../src/control/registry/agent-views.ts';

const CONTROL_PLANE = 'spiffe://example.org/writ/control-plane';
const agentA = { spiffeId: 'spiffe://example.org/writ/agent/t/a', selectors: ['x:1', 'x:2'] };
const agentB = { spiffeId: 'spiffe://example.org/writ/agent/t/b', selectors: ['x:2'] };

function makeEntry(id: string, parentId: string | null, name: string, change: Partial<Entry> = {}): Entry {
  return Object.freeze({
    id,
    parentId,
    spiffeId: `spiffe://example.org/${name}`,
    selectors: ['unix:uid:1'],
    namespaces: [],
    labels: {},
    x509TtlSeconds: null,
    jwtTtlSeconds: null,
    dnsNames: [],
    federatesWith: [],
    hint: '',
    expiresAt: null,
    jwtClaims: null,
    revision: 1,
    createdAt: 0,
    updatedAt: 0,
    ...change,
  });
}

/** Entries that change as the test says, several at once where it gives several. */
function start() {
  const index = new EntryIndex();
  const source = new WatchSource<EntrySnapshot>(index.snapshot(0, 'all'));
  const change = (upserted: readonly Entry[], removed: readonly string[] = []) => {
    for (const id of removed) index.remove(id);
    for (const entry of upserted) index.put(entry);
    const ids = upserted.map((entry) => entry.id);
    source.set(index.snapshot(source.current.revision + 1, { upserted: ids, removed }));
  };
  const views = new AgentViews({ trustDomain: 'example.org', entries: source });
  const follow = (agent: KnownAgent) => {
    const told: EntryView[] = [];
    const following = views.follow(agent, (view) => told.push(view));
    return { ...following, told, ids: () => [...(told.at(-1) ?? following.view).entries.keys()].sort() };
  };
  return { index, source, change, views, follow };
}

describe('the views of agents', () => {
  it('only the agents above a changed entry are told', () => {
    const { change, follow } = start();
    const [a, b] = [follow(agentA), follow(agentB)];
    change([makeEntry('1', agentA.spiffeId, 'web')]);
    expect(a.ids()).toEqual(['1']);
    expect({ a: a.told.length, b: b.told.length }).toEqual({ a: 1, b: 0 });
    change([makeEntry('2', 'spiffe://example.org/web', 'below-web')]);
    expect(a.ids()).toEqual(['1', '2']);
    change([makeEntry('3', 'spiffe://example.org/elsewhere', 'nobody')]);
    expect({ a: a.told.length, b: b.told.length }).toEqual({ a: 2, b: 0 });
    change([], ['1']);
    expect(a.ids()).toEqual([]);
    expect({ a: a.told.length, b: b.told.length }).toEqual({ a: 3, b: 0 });
  });

  it('an entry that moves from one agent to another is gone from the first', () => {
    const { change, follow } = start();
    const [a, b] = [follow(agentA), follow(agentB)];
    change([makeEntry('1', agentA.spiffeId, 'web')]);
    change([makeEntry('1', agentB.spiffeId, 'web')]);
    expect({ a: a.ids(), b: b.ids() }).toEqual({ a: [], b: ['1'] });
  });

  it('agents with the same aliases share one view, worked out once', () => {
    const { change, follow } = start();
    change([
      makeEntry('alias', CONTROL_PLANE, 'pool', { selectors: ['x:2'] }),
      makeEntry('1', 'spiffe://example.org/pool', 'web'),
    ]);
    const [a, b] = [follow(agentA), follow(agentB)];
    expect(a.view).toBe(b.view);
    expect(a.ids()).toEqual(['1']);
    change([makeEntry('2', 'spiffe://example.org/pool', 'orders')]);
    expect(a.told[0]).toBe(b.told[0]);
    expect(b.ids()).toEqual(['1', '2']);
  });

  it('an alias that only some match separates them: nobody sees through another', () => {
    const { change, follow } = start();
    change([
      makeEntry('alias', CONTROL_PLANE, 'pool', { selectors: ['x:2'] }),
      makeEntry('1', 'spiffe://example.org/pool', 'web'),
      makeEntry('secret', 'spiffe://example.org/vip', 'secret'),
    ]);
    const [a, b] = [follow(agentA), follow(agentB)];
    // In one change the shared view changes and one of the two leaves it.
    change([
      makeEntry('vip', CONTROL_PLANE, 'vip', { selectors: ['x:1'] }),
      makeEntry('2', 'spiffe://example.org/pool', 'orders'),
    ]);
    expect({ a: a.ids(), b: b.ids() }).toEqual({ a: ['1', '2', 'secret'], b: ['1', '2'] });
    change([], ['vip']);
    expect({ a: a.ids(), b: b.ids() }).toEqual({ a: ['1', '2'], b: ['1', '2'] });
  });

  it('an agent that attested anew has what its selectors give it now', () => {
    const { change, follow } = start();
    change([
      makeEntry('alias', CONTROL_PLANE, 'pool', { selectors: ['x:9'] }),
      makeEntry('1', 'spiffe://example.org/pool', 'web'),
    ]);
    const a = follow(agentA);
    expect(a.ids()).toEqual([]);
    a.change({ ...agentA, selectors: ['x:9'] });
    expect(a.ids()).toEqual(['1']);
    a.change({ ...agentA, selectors: [] });
    expect(a.ids()).toEqual([]);
  });

  it('trust domains that some entry federates with are known', () => {
    const { change, follow } = start();
    const a = follow(agentA);
    change([makeEntry('1', agentA.spiffeId, 'web', { federatesWith: ['partner.example'] })]);
    expect([...(a.told[0]?.federatesWith ?? [])]).toEqual(['partner.example']);
  });

  it('of an agent that only asks, the view is worked out once for each change', () => {
    const { change, views } = start();
    change([makeEntry('1', agentA.spiffeId, 'web')]);
    const view = views.of(agentA);
    expect(views.of({ ...agentA })).toBe(view);
    expect([...views.of(agentB).entries.keys()]).toEqual([]);
    change([makeEntry('2', agentA.spiffeId, 'orders')], ['1']);
    expect([...views.of(agentA).entries.keys()]).toEqual(['2']);
    // However many ask: what is kept is bounded, and what is given is right.
    const many = Array.from({ length: 40 }, (_, i) => makeEntry(`m${i}`, `${agentA.spiffeId}${i}`, `m${i}`));
    change(many);
    for (const round of [0, 1]) {
      for (const [i, { id }] of many.entries()) {
        const { entries } = views.of({ spiffeId: `${agentA.spiffeId}${i}`, selectors: [] });
        expect([round, ...entries.keys()]).toEqual([round, id]);
      }
    }
  });

  it('whoever has closed is told nothing more', () => {
    const { change, follow, views } = start();
    const a = follow(agentA);
    a.close();
    a.close();
    change([makeEntry('1', agentA.spiffeId, 'web')]);
    expect(a.told).toEqual([]);
    expect(views.of(agentA).entries.has('1')).toBe(true);
  });

  it('S8: after any sequence of changes each agent sees exactly what it is authorised for', () => {
    const name = fc.constantFrom('p', 'q', 'r', 's');
    const parent = fc.oneof(
      fc.constantFrom<string | null>(agentA.spiffeId, agentB.spiffeId, CONTROL_PLANE, null),
      name.map((each) => `spiffe://example.org/${each}`),
    );
    const entry = fc
      .tuple(
        fc.constantFrom('1', '2', '3', '4', '5', '6'),
        parent,
        name,
        fc.subarray(['x:1', 'x:2'], { minLength: 1 }),
        fc.nat(),
      )
      .map(([id, parentId, path, selectors, revision]) => makeEntry(id, parentId, path, { selectors, revision }));
    const step = fc.record({
      upserted: fc.uniqueArray(entry, { maxLength: 3, selector: (each) => each.id }),
      removed: fc.uniqueArray(fc.constantFrom('1', '2', '3', '4', '5', '6'), { maxLength: 2 }),
      selectors: fc.option(fc.subarray(['x:1', 'x:2']), { freq: 5 }),
    });
    void fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const { change, follow, source, views } = start();
        const agents = [agentA, agentB].map((agent) => ({ agent, ...follow(agent) }));
        for (const { upserted, removed, selectors } of steps) {
          change(
            upserted,
            removed.filter((id) => !upserted.some((each) => each.id === id)),
          );
          const [first] = agents;
          if (selectors !== null && first !== undefined) {
            first.agent = { ...agentA, selectors };
            first.change(first.agent);
          }
          for (const { agent, told, view } of agents) {
            const authorised = authorisedEntries(source.current, agent);
            const seen = told.at(-1) ?? view;
            expect(new Map([...seen.entries].sort())).toEqual(new Map([...authorised].sort()));
            expect(new Map([...views.of(agent).entries].sort())).toEqual(new Map([...authorised].sort()));
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
