import { describe, expect, test } from 'vitest';
import { explain } from '../../../src/core/policy/explain.ts';
import type { Policy, Request } from '../../../src/core/policy/model.ts';
import { document, http, operation, parseOne, policy, rule, source, tcp, web } from './support.ts';

function failed(one: Policy, request: Request): readonly string[] {
  return explain([one], request).considered.flatMap((c) => c.failed);
}

test('rules come in the order in which they are weighed, with what each said', () => {
  const policies = [
    policy({ name: 'b' }, rule()),
    policy(
      { name: 'a' },
      rule({ to: [operation({ methods: ['POST'] })] }),
      rule({ from: [source({ namespaces: ['shop'] })] }),
    ),
    policy({ name: 'z', action: 'DENY' }, rule({ to: [operation({ paths: ['/admin/*'] })] })),
  ];
  expect(explain(policies, http('GET', '/x'))).toEqual({
    decision: 'allow',
    reason: 'allow-rule',
    rule: 'shop/a@7#1',
    considered: [
      {
        rule: 'shop/z@7#0',
        action: 'DENY',
        shadow: false,
        matched: false,
        failed: ['path "/x" is none of [/admin/*]'],
      },
      {
        rule: 'shop/a@7#0',
        action: 'ALLOW',
        shadow: false,
        matched: false,
        failed: ['method "GET" is none of [POST]'],
      },
      { rule: 'shop/a@7#1', action: 'ALLOW', shadow: false, matched: true, failed: [] },
      { rule: 'shop/b@7#0', action: 'ALLOW', shadow: false, matched: true, failed: [] },
    ],
  });
});

test('without policies nothing is considered', () => {
  expect(explain([], http())).toEqual({
    decision: 'deny',
    reason: 'default-deny',
    rule: 'default-deny',
    considered: [],
  });
});

describe('what failed, in words', () => {
  test.each([
    [
      source({ principals: ['example.org/ns/shop/sa/orders', 'example.org/ns/ops/*'] }),
      ['principal "example.org/ns/shop/sa/web" is none of [example.org/ns/shop/sa/orders, example.org/ns/ops/*]'],
    ],
    [source({ namespaces: ['ops'] }), ['namespace "shop" is none of [ops]']],
    [
      source({ principals: ['*/sa/orders'], namespaces: ['ops'] }),
      ['principal "example.org/ns/shop/sa/web" is none of [*/sa/orders]', 'namespace "shop" is none of [ops]'],
    ],
  ])('source %#', (from, words) => {
    expect(failed(policy({}, rule({ from: [from] })), http())).toEqual(words);
  });

  test('a caller outside every namespace is said to be so', () => {
    const caller = http('GET', '/', { source: 'spiffe://example.org/writ/control-plane' });
    expect(failed(policy({}, rule({ from: [source({ namespaces: ['*'] })] })), caller)).toEqual([
      'principal "example.org/writ/control-plane" is in no namespace',
    ]);
  });

  test('of several sources and operations each says what it has against the request', () => {
    const one = rule({
      from: [source({ namespaces: ['ops'] }), source({ principals: ['a/b'], namespaces: ['x'] })],
      to: [operation({ ports: [80, 81] }), operation({ methods: ['POST'], paths: ['/a'] })],
    });
    expect(failed(policy({}, one), http())).toEqual([
      'from[0]: namespace "shop" is none of [ops]',
      'from[1]: principal "example.org/ns/shop/sa/web" is none of [a/b] and namespace "shop" is none of [x]',
      'to[0]: port 8080 is none of [80, 81]',
      'to[1]: method "GET" is none of [POST] and path "/" is none of [/a]',
    ]);
  });

  test('rule 34: on TCP a rule with methods or paths says so', () => {
    const one = policy({}, rule({ to: [operation({ methods: ['GET'], paths: ['/a'], ports: [1] })] }));
    expect(failed(one, tcp())).toEqual([
      'port 8080 is none of [1]',
      'the rule names methods and paths, and a TCP connection has none',
    ]);
  });

  test('long lists are cut, and attacker-controlled text is quoted', () => {
    const one = policy({}, rule({ to: [operation({ paths: ['/1', '/2', '/3', '/4', '/5', '/6', '/7'] })] }));
    expect(failed(one, http('GET', '/\n"x'))).toEqual(['path "/\\n\\"x" is none of [/1, /2, /3, /4, /5, and 2 more]']);
  });

  test('a caller without a SPIFFE ID of a workload matches no rule', () => {
    expect(failed(policy({}, rule()), { ...http(), source: 'spiffe://example.org' })).toEqual([
      'the caller "spiffe://example.org" has no SPIFFE ID of a workload that was verified',
    ]);
    expect(failed(policy({}, rule()), { ...http(), source: web })).toEqual([]);
  });

  test('who comes in plain text is said to have no identity, where a rule asks for one', () => {
    const nobody = { ...http(), source: '', plaintext: true } as const;
    expect(failed(policy({}, rule({ from: [source({ principals: ['*'], namespaces: ['a'] })] })), nobody)).toEqual([
      'the caller has no identity, and the rule asks for one',
    ]);
    expect(
      failed(parseOne(document('\naction: ALLOW\nrules: [{from: [{source: {serviceAccounts: [web]}}]}]')), nobody),
    ).toEqual(['the call has no source.serviceAccount']);
    expect(failed(policy({}, rule()), nobody)).toEqual([]);
  });

  test('of a call that goes out, it is the called workload that a rule knows', () => {
    const spec = '\ndirection: Egress\nrules: [{to: [{operation: {serviceAccounts: [db], methods: [GET]}}]}]';
    const one = parseOne(document(spec, { apiVersion: 'writ.dev/v1' }));
    expect(explain([one], http(), { egress: true })).toMatchObject({
      decision: 'deny',
      reason: 'default-deny',
      considered: [{ matched: false, failed: ['called serviceAccount "shop/web" must be one of [shop/db]'] }],
    });
    expect(explain([one], { ...http(), source: 'no' }, { egress: true }).considered[0]?.failed).toEqual([
      'the called workload "no" has no SPIFFE ID of a workload that was verified',
    ]);
    expect(explain([], http(), { egress: true })).toMatchObject({ decision: 'allow', reason: 'egress-open' });
  });

  test('who is asked stands beside the decision, and their rules first', () => {
    const ask = policy({ name: 'z', action: 'CUSTOM' }, rule());
    const answer = explain([policy({ name: 'a' }, rule()), { ...ask, provider: 'opa' }], http());
    expect(answer).toMatchObject({ decision: 'allow', custom: [{ provider: 'opa', rule: 'shop/z@7#0' }] });
    expect(answer.considered.map((one) => [one.action, one.matched])).toEqual([
      ['CUSTOM', true],
      ['ALLOW', true],
    ]);
  });
});
