import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AgentView } from '../../../../src/control/authority/entries/authorised.ts';
import { aliasesOf, ancestorsOf, authorisedEntries } from '../../../../src/control/authority/entries/authorised.ts';
import type { Entry } from '../../../../src/control/authority/entries/entry.ts';
import { EntryIndex } from '../../../../src/control/authority/entries/entry-index.ts';

const td = 'spiffe://example.org';
const controlPlane = `${td}/writ/control-plane`;
const agent: AgentView = { spiffeId: `${td}/writ/agent/x509pop/a`, selectors: ['x509pop:ca:1', 'x509pop:subject:a'] };

function entry(id: string, parent: string | null, change: Partial<Entry> = {}): Entry {
  return {
    id,
    parentId: parent === null || parent.startsWith('spiffe:') ? parent : `${td}/${parent}`,
    spiffeId: `${td}/${id}`,
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
  };
}

function snapshotOf(...entries: readonly Entry[]) {
  const index = new EntryIndex();
  for (const one of entries) index.put(one);
  return index.snapshot(1, 'all');
}

const idsOf = (entries: readonly Entry[], who: AgentView = agent) =>
  [...authorisedEntries(snapshotOf(...entries), who).keys()].sort();

describe('What an agent may hand out', () => {
  it('S8: is what is below its own ID, and what is below that', () => {
    const entries = [
      entry('a', agent.spiffeId),
      entry('b', 'a'),
      entry('c', 'b'),
      entry('x', 'other'),
      entry('y', null),
    ];
    expect(idsOf(entries)).toEqual(['a', 'b', 'c']);
  });

  it('S8: is what is below every alias that its selectors give it; the alias is none of it', () => {
    const entries = [
      entry('mine', controlPlane, { selectors: ['x509pop:ca:1'] }),
      entry('both', controlPlane, { selectors: ['x509pop:subject:a', 'x509pop:ca:1'] }),
      entry('other', controlPlane, { selectors: ['x509pop:ca:1', 'x509pop:subject:b'] }),
      entry('anybody', controlPlane, { selectors: [] }),
      entry('a', 'mine'),
      entry('b', 'both'),
      entry('c', 'other'),
      entry('d', 'anybody'),
    ];
    expect(idsOf(entries)).toEqual(['a', 'b']);
    expect(idsOf(entries, { ...agent, selectors: [] })).toEqual([]);
    expect(aliasesOf(snapshotOf(...entries), agent)).toEqual([`${td}/both`, `${td}/mine`]);
  });

  it('S8: is what is below an alias that a template gives it', () => {
    const alias = entry('t', controlPlane, {
      spiffeId: `${td}/nodes/{{x509pop.subject}}`,
      selectors: ['x509pop:ca:1'],
    });
    const entries = [alias, entry('a', 'nodes/a'), entry('b', 'nodes/b')];
    expect(idsOf(entries)).toEqual(['a']);
  });

  it('S8: is not what is for who attests directly with the control plane, nor what is for join tokens', () => {
    const entries = [entry('direct', controlPlane, { selectors: agent.selectors }), entry('token', null)];
    expect(idsOf(entries)).toEqual([]);
  });

  it('S8: is found although entries are above each other', () => {
    const circle = [entry('a', 'c'), entry('b', 'a'), entry('c', 'b')];
    expect(idsOf(circle)).toEqual([]);
    expect(idsOf([...circle, entry('d', agent.spiffeId, { spiffeId: `${td}/c` })])).toEqual(['a', 'b', 'c', 'd']);
  });

  it('S8: is found at the end of a long chain', () => {
    const chain = Array.from({ length: 20_000 }, (_, i) => entry(`e${i}`, i === 0 ? agent.spiffeId : `e${i - 1}`));
    expect(authorisedEntries(snapshotOf(...chain), agent).size).toBe(20_000);
  });

  it('S8: is what repeating the rule until nothing is added says; and what is above each leads to the agent', () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd', 'e');
    const parent = fc.oneof(name, fc.constantFrom(agent.spiffeId, controlPlane, null));
    const arbitrary = fc.uniqueArray(
      fc.record({
        id: fc.stringMatching(/^[a-z]{1,3}$/),
        parent,
        name,
        selectors: fc.subarray(['x509pop:ca:1', 'x509pop:subject:a', 'no:no'], { minLength: 0 }),
      }),
      { selector: (one) => one.id, maxLength: 12 },
    );
    fc.assert(
      fc.property(arbitrary, (records) => {
        const entries = records.map((one) =>
          entry(one.id, one.parent, { spiffeId: `${td}/${one.name}`, selectors: one.selectors }),
        );
        const found = idsOf(entries);
        expect(found).toEqual(naive(entries));
        const snapshot = snapshotOf(...entries);
        const aliases = new Set(aliasesOf(snapshot, agent));
        for (const one of entries) {
          const above = ancestorsOf(snapshot, one);
          const reached = above.spiffeIds.has(agent.spiffeId) || [...above.spiffeIds].some((id) => aliases.has(id));
          expect([one.id, reached]).toEqual([one.id, found.includes(one.id)]);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

function naive(entries: readonly Entry[]): string[] {
  const parents = new Set([agent.spiffeId]);
  for (const one of entries) {
    const matches = one.selectors.length > 0 && one.selectors.every((selector) => agent.selectors.includes(selector));
    if (one.parentId === controlPlane && matches) parents.add(one.spiffeId);
  }
  const found = new Set<string>();
  for (let before = -1; before < found.size; ) {
    before = found.size;
    for (const one of entries) {
      if (one.parentId === null || !parents.has(one.parentId)) continue;
      found.add(one.id);
      parents.add(one.spiffeId);
    }
  }
  return [...found].sort();
}
