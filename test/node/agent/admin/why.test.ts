import { describe, expect, it } from 'vitest';
import { describe as inWords, nearMisses } from '../../../../src/node/agent/admin/why.ts';
import { testEntry } from '../test-identities.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const selectors = ['unix:uid:0', 'unix:gid:0', 'k8s:ns:shop', 'k8s:sa:web', 'k8s:pod-label:a:1', 'k8s:pod-label:a:2'];
const near = (...entries: ReturnType<typeof testEntry>[]) => nearMisses({ entries, selectors, now: 1_000 });

describe('entries that a process nearly matches', () => {
  it('say which selectors are missing, and what the process has instead', () => {
    const entry = testEntry({ spiffeId: WEB, selectors: ['unix:uid:1000', 'unix:gid:0', 'unix:path:/bin/web'] });
    const [miss] = near(entry);
    expect(miss).toEqual({
      entryId: entry.id,
      spiffeId: WEB,
      missing: [
        { selector: 'unix:uid:1000', instead: ['unix:uid:0'] },
        { selector: 'unix:path:/bin/web', instead: [] },
      ],
      notes: [],
    });
    expect(miss && inWords(miss)).toBe(
      `${WEB} (entry ${entry.id}): no unix:uid:1000, but unix:uid:0; no unix:path:/bin/web`,
    );
  });

  it('come in the order of how little is missing, at most five, and not those that share nothing', () => {
    const one = testEntry({ spiffeId: `${WEB}1`, selectors: ['unix:uid:0', 'unix:gid:0', 'unix:path:/a'] });
    const alone = testEntry({ spiffeId: `${WEB}2`, selectors: ['unix:path:/a'] });
    const two = testEntry({ spiffeId: `${WEB}3`, selectors: ['unix:uid:0', 'unix:path:/a', 'unix:path:/b'] });
    const foreign = testEntry({ spiffeId: `${WEB}4`, selectors: ['docker:label:a:b', 'docker:label:c:d'] });
    const matching = testEntry({ spiffeId: `${WEB}5`, selectors: ['unix:uid:0'] });
    expect(near(foreign, two, matching, alone, one).map(({ spiffeId }) => spiffeId)).toEqual([
      `${WEB}1`,
      `${WEB}2`,
      `${WEB}3`,
    ]);
    expect(near(...Array.from({ length: 9 }, () => alone))).toHaveLength(5);
  });

  it('say what else is in the way', () => {
    const template = 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}';
    const uid = ['unix:uid:0'];
    const notes = (entry: Parameters<typeof testEntry>[0]) => near(testEntry({ selectors: uid, ...entry }))[0]?.notes;
    expect(notes({ spiffeId: WEB, expiresAt: 1_000 })).toEqual(['it has expired']);
    expect(notes({ spiffeId: WEB, selectors: [] })).toEqual([
      'it has no selectors, so no workload of an agent matches it',
    ]);
    expect(notes({ spiffeId: template, namespaces: ['pay', 'web'] })).toEqual([
      'the namespace shop is not one of pay, web',
    ]);
    expect(notes({ spiffeId: 'spiffe://example.org/x/{{k8s.pod-name}}' })).toEqual([
      'there is no k8s:pod-name:… for {{k8s.pod-name}}',
    ]);
    expect(notes({ spiffeId: 'spiffe://example.org/x/{{k8s.pod-label:a}}' })).toEqual([
      'there are several k8s:pod-label:a:… for {{k8s.pod-label:a}}',
    ]);
    expect(notes({ spiffeId: template, namespaces: ['shop'] })).toBeUndefined();
  });
});
