import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchEntries } from '../../../../src/core/identity/selectors.ts';
import type { WorkloadEntry } from '../../../../src/core/identity/workload-entry.ts';
import { GrantIndex } from '../../../../src/node/agent/identities/grant-index.ts';

describe('the index of entries', () => {
  it('S18: gives the same as looking at every entry', () => {
    const selector = fc.constantFrom('k8s:ns:a', 'k8s:ns:b', 'k8s:sa:a', 'k8s:sa:b', 'unix:uid:1');
    const entry: fc.Arbitrary<WorkloadEntry> = fc.record({
      id: fc.uuid({ version: 7 }),
      revision: fc.constant(1),
      spiffeId: fc.constantFrom('spiffe://example.org/x', 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}'),
      selectors: fc.uniqueArray(selector, { maxLength: 3 }),
      namespaces: fc.constant(['a']),
      federatesWith: fc.constant([]),
      dnsNames: fc.constant([]),
      hint: fc.constantFrom('', 'h'),
      expiresAt: fc.constantFrom(null, 5, 15),
    });
    void fc.assert(
      fc.property(fc.array(entry, { maxLength: 20 }), fc.array(selector, { maxLength: 6 }), (entries, selectors) => {
        expect(new GrantIndex(entries).grantsFor(selectors, 10)).toEqual(matchEntries(entries, selectors, 10));
      }),
    );
  });
});
