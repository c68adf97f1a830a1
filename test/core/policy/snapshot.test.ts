import { describe, expect, test } from 'vitest';
import type { Policy, Rule } from '../../../src/core/policy/model.ts';
import { featuresOf, snapshotFeatures } from '../../../src/core/policy/snapshot.ts';
import { document, operation, parseOne, policy, rule, source } from './support.ts';

const bundle = { trustDomain: 'example.org', sequence: 1, refreshHintSeconds: 60, roots: [], jwks: [] };

function needs(...policies: Policy[]): readonly string[] {
  return featuresOf({ policies, services: [], bundle } as never);
}

describe('what a sidecar must understand', () => {
  test('is nothing more for policies of the first release', () => {
    expect(needs()).toEqual([]);
    const first = rule({
      from: [source({ principals: ['*'], namespaces: ['a*'] })],
      to: [operation({ methods: ['GET'], paths: ['*/a'], ports: [1] })],
    });
    expect(needs(policy({}, first), policy({ name: 'q', action: 'DENY' }, rule()))).toEqual([]);
  });

  const condition = { key: 'source.ip', values: ['10.0.0.1'], notValues: [] };
  const more: readonly (readonly [string, Policy])[] = [
    ['an AUDIT', policy({ action: 'AUDIT' }, rule())],
    ['shadow mode', { ...policy({}, rule()), shadow: true }],
    ['a validity', { ...policy({}, rule()), validity: { notAfter: 1 } }],
    ['a condition', policy({}, { ...rule(), when: [condition] } satisfies Rule)],
    ['a source with more', policy({}, rule({ from: [{ ...source({}), where: [condition] }] }))],
    ['an operation with more', policy({}, rule({ to: [{ ...operation({}), where: [condition] }] }))],
    ['a path template', parseOne(document('\naction: ALLOW\nrules: [{to: [{operation: {paths: ["/a", "/b/{*}"]}}]}]'))],
  ];
  test.each(more)('is the second version of policies for %s', (_, one) => {
    expect(needs(policy({ name: 'other' }, rule()), one)).toEqual(['policy-v2']);
    expect(snapshotFeatures).toContain('policy-v2');
  });

  const custom: Policy = { ...policy({ action: 'CUSTOM' }, rule()), provider: 'opa' };
  const rateLimit = { namespace: 'a', name: 'b', revision: 1, selector: {}, overrides: [] };
  test.each([
    ['custom', { policies: [custom] }],
    ['egress', { egress: [policy({}, rule())] }],
    ['rate-limits', { rateLimits: [rateLimit] }],
  ])('is "%s" for what an older sidecar would leave out without a word', (feature, more) => {
    expect(featuresOf({ policies: [], services: [], bundle, ...more } as never)).toEqual([feature]);
    expect(snapshotFeatures).toContain(feature);
  });

  test('is CUSTOM where somebody is asked, and egress where it is about calls that go out, with all that is in it', () => {
    const ask: Policy = { ...policy({ name: 'ask', action: 'CUSTOM' }, rule()), provider: 'opa' };
    expect(needs(ask)).toEqual(['custom']);
    const out: Policy = { ...policy({ name: 'out' }, rule()), direction: 'egress' };
    const content = { policies: [], egress: [out], services: [], bundle } as never;
    expect(featuresOf(content)).toEqual(['egress']);
    const timed: Policy = { ...out, validity: { notAfter: 1 } };
    expect(featuresOf({ policies: [], egress: [timed], services: [], bundle } as never)).toEqual([
      'policy-v2',
      'egress',
    ]);
  });
});
