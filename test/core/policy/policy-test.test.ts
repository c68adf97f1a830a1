import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { parsePolicies } from '../../../src/core/policy/parse.ts';
import type { CaseWorld, PolicyCase } from '../../../src/core/policy/policy-case.ts';
import { labelsIn, runCase } from '../../../src/core/policy/policy-case.ts';
import { isPolicyTest, parsePolicyTests, readPolicyTests } from '../../../src/core/policy/policy-test.ts';
import { expectAppError } from '../../support/errors.ts';

const head = 'apiVersion: writ.dev/v1\nkind: PolicyTest\n';
const one = (fields: string) => `${head}cases:\n- {${fields}}\n`;
const found = (text: string) =>
  readPolicyTests(text, { file: 'c.yaml' }).errors.map(
    ({ code, line, column, message }) => `${line}:${column} ${code} ${message}`,
  );

describe('expectations', () => {
  it('are read with everything that a call may have', () => {
    const text = `${head}trustDomain: example.org
workloads: {shop/orders: {app: orders}}
cases:
- name: all
  from: spiffe://example.org/ns/shop/sa/web
  to: shop/orders
  method: GET
  path: /a
  port: 80
  host: orders
  headers: {X-Tenant: a}
  claims: {sub: me, roles: [a, 1], nested: {deep: true}}
  sourceIp: 10.0.0.1
  destinationIp: 10.0.0.2
  serverName: x
  direction: Egress
  at: "2026-01-31T08:00:00Z"
  expect: allow
  rule: shop/web#0
- {from: plaintext, to: shop/orders, expect: deny}
`;
    const { cases, workloads, trustDomain } = parsePolicyTests(text, { file: 'c.yaml' });
    expect(cases).toEqual([
      {
        ...{ name: 'all', from: 'spiffe://example.org/ns/shop/sa/web', to: 'shop/orders', method: 'GET', path: '/a' },
        ...{ port: 80, host: 'orders', headers: { 'X-Tenant': 'a' } },
        claims: { sub: 'me', roles: ['a', 1], nested: { deep: true } },
        ...{ sourceIp: '10.0.0.1', destinationIp: '10.0.0.2', serverName: 'x', direction: 'egress' },
        at: Date.UTC(2026, 0, 31, 8),
        expect: { decision: 'allow', rule: 'shop/web#0' },
        ...{ file: 'c.yaml', line: 6 },
      },
      {
        name: 'nobody to shop/orders',
        from: '',
        to: 'shop/orders',
        expect: { decision: 'deny' },
        file: 'c.yaml',
        line: 22,
      },
    ]);
    expect([[...workloads], trustDomain]).toEqual([[['shop/orders', { app: 'orders' }]], 'example.org']);
    expect(labelsIn(workloads, 'spiffe://example.org/ns/shop/sa/orders', 'example.org')).toEqual({ app: 'orders' });
    expect(labelsIn(workloads, 'spiffe://partner.org/ns/shop/sa/orders', 'example.org')).toBeUndefined();
  });

  it('that are wrong are all told, by line and column', () => {
    expect(found(one('from: web, to: shop/orders, expect: maybe, port: 0, methods: GET'))).toEqual([
      '4:10 invalid-case "web" is neither a SPIFFE ID nor <namespace>/<service>.',
      '4:40 invalid-case What is expected is "allow" or "deny", not "maybe".',
      '4:53 invalid-case The port must be a number from 1 to 65535.',
      '4:56 unknown-field Unknown field "methods" in "case". Did you mean "method"?',
    ]);
    expect(found(one('from: a/b, to: c/d, expect: deny, path: /'))).toEqual([
      '4:3 invalid-case The field "method" is missing: name method and path, or neither for plain TCP.',
    ]);
    expect(found(one('from: a/b, to: c/d, expect: deny, host: x'))).toEqual([
      '4:38 invalid-case Only HTTP has host: name "method" and "path" too.',
    ]);
    expect(found(one('from: a/b, to: c/d, expect: deny, at: tomorrow, direction: out'))).toEqual([
      expect.stringContaining('invalid-case The time "tomorrow" is none.'),
      expect.stringContaining('invalid-case The direction is "Ingress" or "Egress", not "out".'),
    ]);
    expect(found(one('to: c/d'))).toEqual([
      '4:3 missing-field The field "from" is missing.',
      '4:3 missing-field The field "expect" is missing.',
    ]);
    expect(found(head.replace('PolicyTest', 'Policy'))).toEqual([
      '1:1 missing-field The field "cases" is missing.',
      '2:7 unknown-kind The kind "Policy" holds no cases. Write PolicyTest.',
    ]);
    expect(found('')).toEqual(['1:1 no-policy The text holds no cases.']);
  });

  it('are told as one error, with the first of them', async () => {
    const error = await expectAppError(() => parsePolicyTests(one('to: c/d'), { file: 'c.yaml' }), 'invalid-document');
    expect(error.message).toBe('c.yaml:4:3: The field "from" is missing. (the first of 2 findings)');
  });

  it('are known by their kind, in YAML and JSON, and policies that mention it are not', () => {
    expect(isPolicyTest(head)).toBe(true);
    expect(isPolicyTest('{\n  "kind": "PolicyTest",\n  "cases": []}')).toBe(true);
    expect(isPolicyTest('kind: AuthorizationPolicy # not PolicyTest\n')).toBe(false);
  });

  it('of any text are read or refused, and nothing else', () => {
    const words = fc.constantFrom(
      ...[
        'cases',
        ':',
        '- ',
        '\n',
        '{',
        '}',
        '[',
        ']',
        'from',
        'claims',
        '&a ',
        '*a',
        '"',
        '__proto__',
        '1e9',
        '!x ',
        'null',
        '  ',
        'expect',
        'allow',
        ',',
      ],
    );
    fc.assert(
      fc.property(fc.array(words, { maxLength: 30 }), fc.string({ unit: 'binary', maxLength: 20 }), (some, noise) => {
        try {
          parsePolicyTests(`${head}cases:\n- ${some.join('')}${noise}`);
        } catch (error) {
          if (!(error instanceof AppError) || error.code !== 'invalid-document') throw error;
        }
      }),
      { seed: 9, numRuns: 500 },
    );
  });
});

describe('a case', () => {
  const policies = parsePolicies(`apiVersion: writ.dev/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  validity: {notAfter: "2026-01-02T00:00:00Z"}
  rules:
  - to: [{operation: {paths: ["/a"], ports: ["80"]}}]
    when: [{key: "request.headers[x-tenant]", values: [a]}]
`).map(({ policy }) => policy);
  const world: CaseWorld = {
    ...{ policies, rootNamespace: 'root', trustDomain: 'example.org', now: Date.UTC(2026, 0, 1) },
    labelsOf: (id) => (id.endsWith('/orders') ? { app: 'orders' } : undefined),
  };
  const call: PolicyCase = {
    ...{ name: 'x', from: 'shop/web', to: 'shop/orders', method: 'GET', path: '/b/../a', port: 80 },
    ...{ headers: { 'X-Tenant': 'a' }, expect: { decision: 'allow', rule: 'shop/p#0' } },
  };

  it('is decided as a sidecar decides the call, and passes when rule and verdict are as expected', () => {
    expect(runCase(call, world)).toMatchObject({ passed: true, rule: 'shop/p@0#0', notes: [], considered: [] });
    expect(runCase({ ...call, expect: { decision: 'allow', rule: 'shop/p#1' } }, world).passed).toBe(false);
    expect(runCase({ ...call, at: Date.UTC(2026, 0, 3) }, world)).toMatchObject({ passed: false, decision: 'deny' });
    expect(runCase({ ...call, path: '/%00' }, world)).toMatchObject({ reason: 'malformed-request' });
    expect(runCase({ ...call, from: '' }, world)).toMatchObject({ decision: 'allow' });
  });

  it('says what it was decided without', () => {
    const { port: _, ...portless } = call;
    expect(runCase(portless, world).notes).toEqual([expect.stringContaining('Rules name ports')]);
    expect(runCase({ ...call, to: 'shop/other' }, world).notes).toEqual([
      expect.stringContaining('labels of spiffe://'),
    ]);
  });

  it('is about a workload of the own trust domain', async () => {
    await expectAppError(
      () => runCase({ ...call, to: 'spiffe://partner.org/ns/shop/sa/orders' }, world),
      'invalid',
      /is no workload of example\.org/,
    );
    await expectAppError(() => runCase({ ...call, to: 'orders' }, world), 'invalid', /neither a SPIFFE ID/);
  });
});
