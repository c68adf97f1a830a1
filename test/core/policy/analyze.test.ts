import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import type { AnalysisContext, KnownWorkload } from '../../../src/core/policy/analyze.ts';
import { analyze } from '../../../src/core/policy/analyze.ts';
import { covers, selectsAll, shapeOf, whyNever } from '../../../src/core/policy/cover.ts';
import { policyWarnings } from '../../../src/core/policy/findings.ts';
import type { Policy } from '../../../src/core/policy/model.ts';
import { readPolicies } from '../../../src/core/policy/parse.ts';
import { policySets, requests } from './arbitraries.ts';
import { naiveDecide } from './naive.ts';
import * as support from './support.ts';

const seen = new Set<string>();

/** Each as `name#rule code`, `name code` for a whole policy. */
function findings(specs: Readonly<Record<string, string>>, context: Partial<AnalysisContext> = {}): readonly string[] {
  const text = Object.entries(specs)
    .map(([name, spec]) => support.document(`${spec}\n# That is all.`, { name, apiVersion: 'writ.dev/v1' }))
    .join('---\n');
  const { documents, errors } = readPolicies(text);
  expect(errors).toEqual([]);
  const names = Object.keys(specs);
  return analyze(documents, { rootNamespace: 'root', ...context }).map((one) => {
    seen.add(one.code);
    const document = documents.findLast((each) => each.line <= (one.line ?? 0));
    expect(names).toContain(document?.policy.name);
    const rule = /rules\/(\d+)$/.exec(one.pointer ?? '')?.[1];
    return `${document?.policy.name}${rule === undefined ? '' : `#${rule}`} ${one.code}`;
  });
}

const source = (fields: string) => `{from: [{source: {${fields}}}]}`;
const operation = (fields: string) => `{to: [{operation: {${fields}}}]}`;

describe('rule 48: what Istio does not catch', () => {
  it.each([
    source('namespaces: [a], notNamespaces: [a]'),
    source('namespaces: [a, b], notNamespaces: ["*"]'),
    operation('paths: [/a/b, /a/c], notPaths: [/a/*]'),
    operation('hosts: [shop], notHosts: ["SHOP*"]'),
    `{from: [{source: {namespaces: [a]}}], when: [{key: source.namespace, values: [b]}]}`,
    `{to: [{operation: {ports: ["80"]}}], when: [{key: destination.port, values: ["81"]}]}`,
    `{when: [{key: connection.sni, values: [a]}, {key: connection.sni, values: [b]}]}`,
    `{when: [{key: source.ip, values: [10.0.0.1]}, {key: source.ip, notValues: [10.0.0.0/8]}]}`,
    source('principals: [a.org/ns/n/sa/s], namespaces: [m]'),
    source('principals: [a.org/ns/n/sa/s, a.org/ns/m/sa/s], notNamespaces: [m, n]'),
    source('principals: [a.org/other], namespaces: ["*"]'),
    `{from: [{source: {serviceAccounts: [n/s]}}], when: [{key: source.namespace, values: ["m*"]}]}`,
    `{from: [{source: {principals: [a.org/ns/n/sa/s]}}], when: [{key: source.serviceAccount, values: [n/t]}]}`,
  ])('a rule that can never match: %s', (rule) => {
    expect(findings({ p: `rules: [${rule}]` })).toEqual(['p#0 never-matches']);
  });

  it.each([
    source('namespaces: ["*"], notNamespaces: [a]'),
    '{from: [{source: {namespaces: [a]}}, {source: {namespaces: [b]}}], when: [{key: source.namespace, values: [b]}]}',
    '{when: [{key: request.auth.audiences, values: [a]}, {key: request.auth.audiences, values: [b]}]}',
    operation('paths: [/a/*], notPaths: [/a/b]'),
    source('principals: [a.org/ns/n/sa/s, a.org/ns/m/sa/s], namespaces: [m]'),
    source('principals: ["a.org/ns/n/*"], namespaces: [m]'),
    source('principals: [a.org/other], notNamespaces: ["*"]'),
    // Either may be an alias of the other.
    source('principals: [a.org/ns/n/sa/s], trustDomains: [b.org]'),
    source('principals: [a.org/ns/n/sa/s], namespaces: [n], trustDomains: ["a*"]'),
  ])('and one that can: %s', (rule) => {
    expect(findings({ p: `rules: [${rule}]` })).toEqual([]);
  });

  test('a rule that a wider one shadows, in the same policy or another', () => {
    const narrow =
      '{from: [{source: {principals: [a.org/ns/n/sa/s]}}], to: [{operation: {paths: [/a/b], methods: [GET]}}]}';
    const wide = '{from: [{source: {principals: ["a.org/*"]}}], to: [{operation: {paths: ["/a/*", /c]}}]}';
    expect(findings({ a: `rules: [${narrow}, ${wide}]` })).toEqual(['a#0 shadowed-rule']);
    expect(findings({ a: `rules: [${narrow}]`, b: `rules: [${wide}]` })).toEqual(['a#0 shadowed-rule']);
    expect(findings({ a: `rules: [${narrow}]`, b: `selector: {matchLabels: {x: y}}\nrules: [${wide}]` })).toEqual([]);
    expect(findings({ a: `selector: {matchLabels: {x: y}}\nrules: [${narrow}]`, b: `rules: [${wide}]` })).toEqual([
      'a#0 shadowed-rule',
    ]);
    expect(findings({ a: `action: AUDIT\nrules: [${narrow}]`, b: `rules: [${wide}]` })).toEqual([]);
    expect(findings({ a: `rules: [${narrow}]`, b: `mode: Shadow\nrules: [${wide}]` })).toEqual([]);
    expect(
      findings({ a: `rules: [${narrow}]`, b: `validity: {notAfter: "2030-01-01T00:00:00Z"}\nrules: [${wide}]` }),
    ).toEqual([]);
  });

  test('of two equal rules only the later one is too much', () => {
    expect(
      findings({ a: `rules: [${source('namespaces: [a]')}]`, b: `rules: [${source('namespaces: [a]')}]` }),
    ).toEqual(['b#0 shadowed-rule']);
    expect(findings({ a: `rules: [{}, {}]` })).toEqual(['a#1 shadowed-rule']);
  });

  test('an ALLOW behind a DENY, and a pair that contradicts', () => {
    const rule = source('namespaces: [a]');
    expect(findings({ a: `rules: [${rule}]`, b: 'action: DENY\nrules: [{}]' })).toEqual(['a#0 allow-behind-deny']);
    expect(findings({ a: `rules: [${rule}]`, b: `action: DENY\nrules: [${rule}]` })).toEqual(['a#0 allow-behind-deny']);
    expect(findings({ a: 'rules: [{}]', b: `action: DENY\nrules: [${rule}]` })).toEqual([]);
    expect(findings({ a: `rules: [${rule}]`, b: 'action: DENY\nmode: Shadow\nrules: [{}]' })).toEqual([]);
  });

  const workloads: readonly KnownWorkload[] = [
    workload('shop', 'web', { app: 'web' }, new Map([[8080, 'http']])),
    workload('shop', 'db', { app: 'db' }, new Map([[5432, 'tcp']])),
  ];

  test('names of what does not exist', () => {
    const rules = [
      source(
        'principals: [example.org/ns/shop/sa/web, example.org/ns/shop/sa/wbe, other.org/ns/x/sa/y, "example.org/*"]',
      ),
      source('notPrincipals: [example.org/ns/shop/sa/bd]'),
      source('namespaces: [shop, shpo, "s*"]'),
      source('serviceAccounts: [web, wbe]'),
      '{when: [{key: source.namespace, values: [nowhere]}]}',
    ];
    expect(findings({ p: `rules: [${rules.join(', ')}]` }, { workloads })).toEqual([
      'p#0 unknown-identity',
      'p#1 unknown-identity',
      'p#2 unknown-namespace',
      'p#3 unknown-identity',
      'p#4 unknown-namespace',
    ]);
    expect(findings({ p: `rules: [${rules.join(', ')}]` })).toEqual([]);
  });

  test('trust domains of nobody who is let in, written out', () => {
    const rules = [
      source('principals: [example.org/ns/shop/sa/web, cluster.local/ns/shop/sa/web, old/ns/shop/sa/web]'),
      source('principals: [exmaple.org/ns/shop/sa/web]'),
      source('trustDomains: [old, odl]'),
      '{when: [{key: source.trustDomain, notValues: [nowhere]}], from: [{source: {principals: ["*"]}}]}',
    ];
    const trustDomains = ['example.org', 'old'];
    expect(findings({ p: `rules: [${rules.join(', ')}]` }, { trustDomains })).toEqual([
      'p#1 unknown-trust-domain',
      'p#2 unknown-trust-domain',
      'p#3 unknown-trust-domain',
    ]);
  });

  test('an authorizer that the control plane does not know', () => {
    const spec = 'action: CUSTOM\nprovider: {name: opa}\nrules: [{}]';
    expect(findings({ p: spec }, { providers: ['other'] })).toEqual(['p unknown-provider']);
    expect(findings({ p: spec }, { providers: ['opa'] })).toEqual([]);
    expect(findings({ p: spec })).toEqual([]);
  });

  test('a CUSTOM is shadowed by one of the same provider only, and asks in vain behind a DENY', () => {
    const ask = (provider: string) => `action: CUSTOM\nprovider: {name: ${provider}}\nrules: [{}]`;
    expect(findings({ a: ask('x'), b: ask('x') })).toEqual(['b#0 shadowed-rule']);
    expect(findings({ a: ask('x'), b: ask('y') })).toEqual([]);
    expect(findings({ a: ask('x'), b: 'action: DENY\nrules: [{}]' })).toEqual(['a#0 allow-behind-deny']);
  });

  test('targets: who is nobody, and which cover others', () => {
    const target = (name: string) => `targetRefs: [{kind: Service, name: ${name}}]\n`;
    expect(findings({ p: `${target('web')}rules: []`, q: `${target('wbe')}rules: []` }, { workloads })).toEqual([
      'q selects-nothing',
    ]);
    const klass = 'targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: c}]\nrules: []';
    expect(findings({ p: klass })).toEqual(['p selects-nothing']);
    expect(findings({ p: klass }, { rootNamespace: 'shop' })).toEqual([]);
    const rules = (name: string) => `${target(name)}rules: [{}]`;
    expect(findings({ a: rules('web'), b: rules('web') })).toEqual(['b#0 shadowed-rule']);
    expect(findings({ a: rules('web'), b: rules('api') })).toEqual([]);
    expect(findings({ a: 'rules: [{}]', b: rules('web') })).toEqual(['b#0 shadowed-rule']);
    expect(findings({ a: rules('web'), b: 'rules: [{}]' })).toEqual(['a#0 shadowed-rule']);
    expect(findings({ a: 'selector: {matchLabels: {x: y}}\nrules: [{}]', b: rules('web') })).toEqual([]);
  });

  test('targets of one name in two namespaces are two', () => {
    const one: Policy = { ...support.policy({}), targets: [{ kind: 'Service', name: 'web' }] };
    expect(selectsAll(one, { ...one, name: 'q' }, 'root')).toBe(true);
    expect(selectsAll(one, { ...one, namespace: 'other' }, 'root')).toBe(false);
    // Even from the root namespace, a Service is that of its own namespace.
    expect(selectsAll({ ...one, namespace: 'root' }, one, 'root')).toBe(false);
    expect(selectsAll(one, { ...one, targets: [{ kind: 'Gateway', name: 'web' }] }, 'root')).toBe(false);
  });

  test('calls in one direction say nothing of those in the other', () => {
    const out = 'direction: Egress\n';
    expect(findings({ a: `${out}rules: [{}]`, b: 'rules: [{}]' })).toEqual([]);
    expect(findings({ a: `${out}rules: [{}]`, b: 'action: DENY\nrules: [{}]' })).toEqual([]);
    expect(findings({ a: `${out}rules: [{}]`, b: `${out}rules: [{}]` })).toEqual(['b#0 shadowed-rule']);
    const db = 'selector: {matchLabels: {app: db}}\n';
    expect(findings({ p: `${out}${db}rules: [${operation('methods: [GET]')}]` }, { workloads })).toEqual([]);
    const called = operation('serviceAccounts: [wbe]');
    expect(findings({ p: `${out}rules: [${called}]` }, { workloads })).toEqual(['p#0 unknown-identity']);
    expect(findings({ p: `${out}rules: [${operation('principals: [a.org/ns/n/sa/s], namespaces: [m]')}]` })).toEqual([
      'p#0 never-matches',
    ]);
  });

  test('an HTTP rule on a port that speaks TCP is an error', () => {
    const db = 'selector: {matchLabels: {app: db}}\nrules: ';
    const http = operation('methods: [GET]');
    expect(findings({ p: `${db}[${http}]` }, { workloads })).toEqual(['p#0 http-rule-on-tcp']);
    expect(findings({ p: `${db}[${operation('methods: [GET], ports: ["5432"]')}]` }, { workloads })).toEqual([
      'p#0 http-rule-on-tcp',
    ]);
    expect(findings({ p: `${db}[${operation('methods: [GET], ports: ["80"]')}]` }, { workloads })).toEqual([]);
    expect(findings({ p: `${db}[${source('requestPrincipals: ["*"]')}]` }, { workloads })).toEqual([
      'p#0 http-rule-on-tcp',
    ]);
    expect(findings({ p: `${db}[${source('namespaces: [shop]')}]` }, { workloads })).toEqual([]);
    expect(findings({ p: `selector: {matchLabels: {app: web}}\nrules: [${http}]` }, { workloads })).toEqual([]);
    const { documents } = readPolicies(support.document(`${db}[${http}]`));
    expect(analyze(documents, { rootNamespace: 'root', workloads })[0]?.severity).toBe('error');
  });

  test('a selector that no workload carries, and a validity that is over', () => {
    const spec = 'selector: {matchLabels: {app: wbe}}\nvalidity: {notAfter: "1970-01-01T00:00:01Z"}\nrules: []';
    expect(findings({ p: spec }, { workloads, now: 1_000 })).toEqual(['p validity-over', 'p selects-nothing']);
    expect(findings({ p: spec }, { now: 999 })).toEqual([]);
  });

  test('stops to compare when there are too many rules, and says so', () => {
    const rules = Array.from({ length: 512 }, (_, i) => operation(`paths: [/p${i}]`)).join(', ');
    const specs = Object.fromEntries(['a', 'b', 'c', 'd', 'e'].map((name) => [name, `rules: [${rules}]`]));
    expect(findings(specs).filter((one) => one.endsWith('too-many-rules'))).toHaveLength(1);
  });

  test('every warning has its example here or in the tests of the parser', () => {
    const byParser = [
      ...['selects-everything', 'matches-absent', 'host-without-port'],
      ...['plain-text', 'mtls-not-disabled', 'audiences-unchecked', 'no-jwt-rules'],
    ];
    expect([...seen, ...byParser].sort()).toEqual(Object.keys(policyWarnings).sort());
  });
});

function workload(
  namespace: string,
  service: string,
  labels: Record<string, string>,
  protocols: ReadonlyMap<number, 'http' | 'tcp'>,
): KnownWorkload {
  return { namespace, service, principal: `example.org/ns/${namespace}/sa/${service}`, labels, protocols };
}

describe('what is said is so', () => {
  const matchesAlone = (policy: Policy, index: number, request: Parameters<typeof naiveDecide>[1]) => {
    const { shadow: _, validity: __, ...plain } = policy;
    const rule = plain.rules[index];
    if (rule === undefined) return false;
    // As an AUDIT, a CUSTOM is seen to match.
    const action = plain.action === 'CUSTOM' ? 'AUDIT' : plain.action;
    const { reason, audited } = naiveDecide([{ ...plain, action, rules: [rule] }], request);
    return reason !== 'default-deny' || audited !== undefined;
  };

  test('whatever a covered rule matches, the one that covers it matches', () => {
    let pairs = 0;
    fc.assert(
      fc.property(policySets, fc.array(requests, { minLength: 30, maxLength: 30 }), (policies, calls) => {
        const rules = policies.flatMap((policy) =>
          policy.rules.map((rule, index) => ({ policy, index, shape: shapeOf(rule) })),
        );
        for (const a of rules) {
          for (const b of rules) {
            if (a === b || a.policy.action !== b.policy.action || !covers(a.shape, b.shape)) continue;
            pairs += 1;
            for (const call of calls) {
              if (!matchesAlone(b.policy, b.index, call)) continue;
              expect(
                matchesAlone(a.policy, a.index, call),
                JSON.stringify([a.policy.rules[a.index], b.policy.rules[b.index], call]),
              ).toBe(true);
            }
          }
        }
      }),
      { seed: 5, numRuns: 150 },
    );
    expect(pairs).toBeGreaterThan(500);
  });

  test('no call matches a rule that is said never to match', () => {
    let rules = 0;
    fc.assert(
      fc.property(policySets, fc.array(requests, { minLength: 40, maxLength: 40 }), (policies, calls) => {
        for (const policy of policies) {
          for (const [index, rule] of policy.rules.entries()) {
            if (whyNever(rule) === undefined) continue;
            rules += 1;
            expect(calls.filter((call) => matchesAlone(policy, index, call))).toEqual([]);
          }
        }
      }),
      { seed: 6, numRuns: 300 },
    );
    expect(rules).toBeGreaterThan(100);
  });
});
