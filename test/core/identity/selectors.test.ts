import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchEntries } from '../../../src/core/identity/selectors.ts';
import type { WorkloadEntry } from '../../../src/core/identity/workload-entry.ts';

function entry(id: string, change: Partial<WorkloadEntry> = {}): WorkloadEntry {
  return {
    id,
    revision: 1,
    spiffeId: `spiffe://example.org/${id}`,
    selectors: ['unix:uid:1'],
    namespaces: [],
    federatesWith: [],
    dnsNames: [],
    hint: '',
    expiresAt: null,
    ...change,
  };
}

const template = {
  spiffeId: 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}',
  selectors: ['k8s:node:a'],
  namespaces: ['shop'],
};
const ids = (entries: readonly WorkloadEntry[], selectors: readonly string[], now?: number) =>
  matchEntries(entries, selectors, now).map((grant) => grant.spiffeId);

describe('What a workload may have', () => {
  it('S18: is each entry whose selectors are all among its own', () => {
    const entries = [entry('a'), entry('b', { selectors: ['unix:uid:1', 'unix:gid:2'] }), entry('c')];
    expect(ids(entries, ['unix:uid:1'])).toEqual(['spiffe://example.org/a', 'spiffe://example.org/c']);
    expect(ids(entries, ['unix:gid:2', 'unix:uid:1', 'x:y'])).toHaveLength(3);
    expect(ids(entries, ['unix:uid:10', 'unix:gid:2'])).toEqual([]);
    expect(ids(entries, [])).toEqual([]);
  });

  it('S18: is never an entry without selectors', () => {
    expect(ids([entry('a', { selectors: [] })], ['unix:uid:1'])).toEqual([]);
    expect(ids([entry('a', { selectors: [] })], [])).toEqual([]);
  });

  it('is in the order of the entries, whichever order they come in, so that the default identity stays', () => {
    expect(ids([entry('c'), entry('a'), entry('b')], ['unix:uid:1'])).toEqual(
      ['a', 'b', 'c'].map((id) => `spiffe://example.org/${id}`),
    );
  });

  it('is without what has expired', () => {
    const entries = [entry('a', { expiresAt: 1000 }), entry('b', { expiresAt: 1001 }), entry('c')];
    expect(ids(entries, ['unix:uid:1'], 1000)).toEqual(['spiffe://example.org/b', 'spiffe://example.org/c']);
  });

  it('spiffe 35: has each hint once: the first keeps it', () => {
    const entries = [entry('a', { hint: 'x' }), entry('b', { hint: 'x' }), entry('c', { hint: 'y' }), entry('d')];
    const hints = matchEntries(entries, ['unix:uid:1']).map((grant) => grant.entry.hint);
    expect(hints).toEqual(['x', '', 'y', '']);
    expect(entries[1]?.hint).toBe('x');
  });

  it('has the values of its selectors in the name that a template gives it', () => {
    const [grant] = matchEntries([entry('t', template)], ['k8s:node:a', 'k8s:ns:shop', 'k8s:sa:web']);
    expect(grant).toMatchObject({
      spiffeId: 'spiffe://example.org/ns/shop/sa/web',
      variables: { 'k8s.ns': 'shop', 'k8s.sa': 'web' },
    });
  });

  it.each([
    ['there is no value', ['k8s:node:a', 'k8s:ns:shop']],
    ['there are two values', ['k8s:node:a', 'k8s:ns:shop', 'k8s:sa:web', 'k8s:sa:api']],
    ['a value is outside the bounds', ['k8s:node:a', 'k8s:ns:bank', 'k8s:sa:web']],
    ['a value is more than a segment', ['k8s:node:a', 'k8s:ns:shop', 'k8s:sa:a/b']],
    ['a value has a colon', ['k8s:node:a', 'k8s:ns:shop', 'k8s:sa:a:b']],
    ['a value is empty', ['k8s:node:a', 'k8s:ns:shop', 'k8s:sa:']],
    ['its own selectors are missing', ['k8s:ns:shop', 'k8s:sa:web']],
  ])('is nothing by a template when %s', (_, selectors) => {
    expect(ids([entry('t', template)], selectors)).toEqual([]);
  });

  it('is nothing by a template that is none, and the others all the same', () => {
    const broken = entry('a', { spiffeId: 'spiffe://example.org/a/{{' });
    expect(ids([broken, entry('b')], ['unix:uid:1'])).toEqual(['spiffe://example.org/b']);
  });

  it('S18: is what a comparison of every entry with every selector says', () => {
    const text = fc.constantFrom(
      'k8s:ns:shop',
      'k8s:ns:bank',
      'k8s:sa:web',
      'k8s:sa:a b',
      'unix:uid:1',
      'x:y:z',
      'k8s:sa:',
    );
    const names = ['spiffe://example.org/a', template.spiffeId, 'spiffe://example.org/ns/shop/sa/{{k8s.sa}}'];
    const entries = fc.uniqueArray(
      fc.record({
        id: fc.stringMatching(/^[a-f]{1,2}$/),
        selectors: fc.uniqueArray(text, { maxLength: 3 }),
        spiffeId: fc.constantFrom(...names),
        hint: fc.constantFrom('', 'h', 'i'),
        expiresAt: fc.constantFrom(null, 5, 10),
      }),
      { selector: (one) => one.id, maxLength: 8 },
    );
    fc.assert(
      fc.property(entries, fc.array(text, { maxLength: 6 }), (some, held) => {
        const all = some.map(({ id, ...change }) =>
          entry(id, { ...change, namespaces: change.spiffeId === template.spiffeId ? ['shop'] : [] }),
        );
        const found = matchEntries(all, held, 5);
        expect(found.map((grant) => [grant.entry.id, grant.spiffeId, grant.entry.hint])).toEqual(naive(all, held, 5));
      }),
      { numRuns: 1000 },
    );
  });
});

/** The same, as directly as it can be said. */
function naive(entries: readonly WorkloadEntry[], held: readonly string[], now: number): unknown[] {
  const only = (prefix: string) => {
    const values = new Set(held.filter((text) => text.startsWith(prefix)).map((text) => text.slice(prefix.length)));
    const [value] = values;
    return values.size === 1 && /^[a-z0-9-]{1,63}$/.test(value ?? '') ? value : undefined;
  };
  const hints: string[] = [];
  const result: unknown[] = [];
  for (const one of [...entries].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    if (one.expiresAt !== null && one.expiresAt <= now) continue;
    if (one.selectors.length === 0 || !one.selectors.every((text) => held.includes(text))) continue;
    const name = { ns: only('k8s:ns:'), sa: only('k8s:sa:') };
    if (one.spiffeId.includes('{{k8s.sa}}') && name.sa === undefined) continue;
    if (one.spiffeId.includes('{{k8s.ns}}') && (name.ns === undefined || !one.namespaces.includes(name.ns))) continue;
    const hint = hints.includes(one.hint) ? '' : one.hint;
    if (hint !== '') hints.push(hint);
    const spiffeId = one.spiffeId.replace('{{k8s.sa}}', name.sa ?? '').replace('{{k8s.ns}}', name.ns ?? '');
    result.push([one.id, spiffeId, hint]);
  }
  return result;
}
