import { describe, expect, test } from 'vitest';
import { compile } from '../../../src/core/policy/compile.ts';
import { decide } from '../../../src/core/policy/decide.ts';
import type { Policy, Request } from '../../../src/core/policy/model.ts';
import { http, operation, policy, rule, source, tcp, web } from './support.ts';

function verdict(policies: readonly Policy[], request: Request): string {
  const { decision, rule: id } = decide(compile(policies, 1), request);
  return `${decision} ${id}`;
}

const denied = 'deny default-deny';
const allowed = 'allow shop/p@7#0';
const orders = 'spiffe://example.org/ns/shop/sa/orders';

/** One ALLOW rule with this operation. */
const to = (o: Parameters<typeof operation>[0]) => [policy({}, rule({ to: [operation(o)] }))];
/** One ALLOW rule with this source. */
const from = (o: Parameters<typeof source>[0]) => [policy({}, rule({ from: [source(o)] }))];

describe('default deny', () => {
  test('rule 22, with our difference: no policy at all denies', () => {
    expect(decide(compile([], 1), http())).toEqual({ decision: 'deny', reason: 'default-deny', rule: 'default-deny' });
  });

  test('rule 22, with our difference: only DENY policies allow nothing', () => {
    const deny = policy({ action: 'DENY' }, rule({ to: [operation({ paths: ['/admin'] })] }));
    expect(verdict([deny], http('GET', '/'))).toBe(denied);
  });

  test('rule 24: an ALLOW without rules allows nothing', () => {
    expect(verdict([policy({})], http())).toBe(denied);
  });

  test('rule 24: an empty rule always matches, in ALLOW and in DENY', () => {
    expect(verdict([policy({}, rule())], http())).toBe(allowed);
    expect(verdict([policy({}, rule())], tcp())).toBe(allowed);
    expect(verdict([policy({}, rule()), policy({ action: 'DENY', name: 'd' }, rule())], http())).toBe(
      'deny shop/d@7#0',
    );
  });

  test.each(['', 'web', 'example.org/ns/shop/sa/web', 'spiffe://example.org', 'https://example.org/ns/shop/sa/web'])(
    'a caller without the SPIFFE ID of a workload ("%s") is denied even by a rule for everybody',
    (caller) => {
      expect(verdict([policy({}, rule())], http('GET', '/', { source: caller }))).toBe(denied);
    },
  );
});

describe('rule 22: DENY before ALLOW', () => {
  const allow = policy({ name: 'a-allow' }, rule());
  const deny = policy({ name: 'z-deny', action: 'DENY' }, rule({ to: [operation({ methods: ['DELETE'] })] }));

  test('a matching DENY decides whatever ALLOW matches', () => {
    expect(decide(compile([allow, deny], 1), http('DELETE'))).toEqual({
      decision: 'deny',
      reason: 'deny-rule',
      rule: 'shop/z-deny@7#0',
    });
  });

  test('a DENY that does not match leaves the decision to ALLOW', () => {
    expect(decide(compile([allow, deny], 1), http('GET'))).toEqual({
      decision: 'allow',
      reason: 'allow-rule',
      rule: 'shop/a-allow@7#0',
    });
  });
});

describe('rule 25: the order of policies is irrelevant', () => {
  const policies = [
    policy({ name: 'b' }, rule()),
    policy({ name: 'a', revision: 3 }, rule({ to: [operation({ paths: ['/x'] })] }), rule()),
    policy({ namespace: 'root', name: 'z' }, rule({ to: [operation({ paths: ['/z'] })] })),
    policy({ namespace: 'root', name: 'deny', action: 'DENY' }, rule({ to: [operation({ paths: ['/d'] })] })),
  ];

  test.each([
    ['/d', 'deny root/deny@7#0'],
    ['/z', 'allow root/z@7#0'],
    ['/x', 'allow shop/a@3#0'],
    ['/other', 'allow shop/a@3#1'],
  ])('of several rules that match %s the first by namespace, name and index is named', (path, expected) => {
    expect(verdict(policies, http('GET', path))).toBe(expected);
    expect(verdict(policies.toReversed(), http('GET', path))).toBe(expected);
  });

  test('a DENY of the root namespace cannot be overridden, its empty ALLOW is opened by any other', () => {
    const root = { namespace: 'writ-system' };
    expect(verdict([policy({ ...root, action: 'DENY' }, rule()), policy({}, rule())], http())).toBe(
      'deny writ-system/p@7#0',
    );
    expect(verdict([policy(root), policy({}, rule())], http())).toBe(allowed);
  });
});

describe('rule 2: a rule matches if any from and any to match', () => {
  const both = [
    policy(
      {},
      rule({
        from: [source({ principals: ['example.org/ns/shop/sa/web'] }), source({ namespaces: ['ops'] })],
        to: [operation({ paths: ['/a'] }), operation({ methods: ['POST'], paths: ['/b'] })],
      }),
    ),
  ];

  test.each([
    [http('GET', '/a'), allowed],
    [http('POST', '/b'), allowed],
    [http('GET', '/b'), denied],
    [http('GET', '/a', { source: 'spiffe://example.org/ns/ops/sa/x' }), allowed],
    [http('GET', '/a', { source: orders }), denied],
    [http('GET', '/c'), denied],
  ])('%j → %s', (request, expected) => {
    expect(verdict(both, request)).toBe(expected);
  });

  test('a policy matches if any of its rules does', () => {
    const two = policy({}, rule({ to: [operation({ paths: ['/a'] })] }), rule({ to: [operation({ paths: ['/b'] })] }));
    expect(verdict([two], http('GET', '/b'))).toBe('allow shop/p@7#1');
  });
});

describe('rule 3 and 4: fields are ANDed, values ORed', () => {
  const narrow = [
    policy(
      {},
      rule({
        from: [source({ principals: ['example.org/ns/shop/sa/web', '*/sa/orders'], namespaces: ['shop', 'ops'] })],
        to: [operation({ methods: ['GET', 'HEAD'], paths: ['/a', '/b/*'], ports: [80, 8080] })],
      }),
    ),
  ];

  test.each([
    [http('GET', '/a'), allowed],
    [http('HEAD', '/b/c', { port: 80 }), allowed],
    [http('HEAD', '/b/c', { source: 'spiffe://example.org/ns/ops/sa/orders' }), allowed],
    [http('GET', '/a', { source: 'spiffe://example.org/ns/dev/sa/orders' }), denied],
    [http('GET', '/a', { source: 'spiffe://example.org/ns/ops/sa/web' }), denied],
    [http('POST', '/a'), denied],
    [http('GET', '/b'), denied],
    [http('GET', '/a', { port: 81 }), denied],
  ])('%j → %s', (request, expected) => {
    expect(verdict(narrow, request)).toBe(expected);
  });

  test('a source or operation without a field matches everything, also beside others', () => {
    const open = policy(
      {},
      rule({ from: [source({ namespaces: ['ops'] }), source({})], to: [operation({ ports: [1] }), operation({})] }),
    );
    expect(verdict([open], http())).toBe(allowed);
    expect(verdict([policy({}, rule({ from: [source({})], to: [operation({})] }))], tcp())).toBe(allowed);
  });
});

describe('rule 10: principals', () => {
  test.each([
    ['example.org/ns/shop/sa/web', web, allowed],
    ['example.org/ns/shop/sa/web', `${web}x`, denied],
    ['example.org/ns/shop/sa/web', `${web}/x`, denied],
    ['example.org/ns/shop/*', web, allowed],
    ['example.org/ns/shop/*', 'spiffe://example.org/ns/shopping/sa/web', denied],
    ['example.org/ns/shop*', 'spiffe://example.org/ns/shopping/sa/web', allowed],
    ['*/sa/web', web, allowed],
    ['*/sa/web', 'spiffe://other.example/ns/x/sa/web', allowed],
    ['*/sa/web', 'spiffe://example.org/ns/shop/sa/xweb', denied],
    ['*', web, allowed],
    ['*', 'spiffe://example.org/writ/control-plane', allowed],
    ['other.example/ns/shop/sa/web', web, denied],
    ['spiffe://example.org/ns/shop/sa/web', web, denied],
    ['example.org/ns/shop/sa/WEB', web, denied],
  ])('%s against %s → %s', (principal, caller, expected) => {
    expect(verdict(from({ principals: [principal] }), http('GET', '/', { source: caller }))).toBe(expected);
  });
});

describe('rule 11: namespaces', () => {
  test.each([
    ['shop', web, allowed],
    ['shop', 'spiffe://other.example/ns/shop/sa/web', allowed],
    ['sho', web, denied],
    ['shop', 'spiffe://example.org/ns/shopping/sa/web', denied],
    ['shop*', 'spiffe://example.org/ns/shopping/sa/web', allowed],
    ['*-dev', 'spiffe://example.org/ns/team-dev/sa/web', allowed],
    ['*-dev', 'spiffe://example.org/ns/team-devel/sa/web', denied],
    ['*', web, allowed],
    ['*', 'spiffe://example.org/writ/control-plane', denied],
    ['shop', 'spiffe://example.org/x/ns/shop/sa/web', denied],
    ['shop', 'spiffe://example.org/ns/shop/sa/web/more', denied],
  ])('%s against %s → %s', (namespace, caller, expected) => {
    expect(verdict(from({ namespaces: [namespace] }), http('GET', '/', { source: caller }))).toBe(expected);
  });
});

describe('rule 7, 9, 17 and 18: operations', () => {
  test.each([
    [to({ paths: ['/a'] }), http('GET', '/a'), allowed],
    [to({ paths: ['/a'] }), http('GET', '/a/'), denied],
    [to({ paths: ['/a'] }), http('GET', '/A'), denied],
    [to({ paths: ['/a*'] }), http('GET', '/a'), allowed],
    [to({ paths: ['/a/*'] }), http('GET', '/a'), denied],
    [to({ paths: ['/a/*'] }), http('GET', '/a/'), allowed],
    [to({ paths: ['*.css'] }), http('GET', '/x/y.css'), allowed],
    [to({ paths: ['*.css'] }), http('GET', '/x/y.css/'), denied],
    [to({ paths: ['*'] }), http('GET', '/'), allowed],
    [to({ paths: ['*'] }), http('GET', ''), denied],
    [to({ methods: ['GET'] }), http('GET'), allowed],
    [to({ methods: ['GET'] }), http('get'), denied],
    [to({ methods: ['GET'] }), http('GETX'), denied],
    [to({ methods: ['P*'] }), http('PATCH'), allowed],
    [to({ methods: ['*'] }), http('QUERY'), allowed],
    [to({ methods: ['POST'], paths: ['/writ.v1.Audit/Ship'] }), http('POST', '/writ.v1.Audit/Ship'), allowed],
    [to({ ports: [8080] }), http(), allowed],
    [to({ ports: [8080] }), http('GET', '/', { port: 80 }), denied],
    [to({ ports: [8080] }), tcp(), allowed],
    [to({ ports: [8080] }), tcp({ port: 1 }), denied],
  ])('%j %j → %s', (policies, request, expected) => {
    expect(verdict(policies, request)).toBe(expected);
  });
});

describe('rule 33 to 35: HTTP fields on TCP', () => {
  test.each([[{ methods: ['GET'] }], [{ methods: ['*'] }], [{ paths: ['*'] }], [{ paths: ['/a'], ports: [8080] }]])(
    'rule 34: an ALLOW that names %j never matches',
    (o) => {
      expect(verdict(to(o), tcp())).toBe(denied);
    },
  );

  test.each([[{ methods: ['GET'] }], [{ methods: ['*'] }], [{ paths: ['*'] }], [{ paths: ['/a'], ports: [8080] }]])(
    'rule 35, with our difference: a DENY that names %j does not widen to the whole port',
    (o) => {
      const deny = policy({ name: 'd', action: 'DENY' }, rule({ to: [operation(o)] }));
      expect(verdict([deny, policy({}, rule())], tcp())).toBe(allowed);
    },
  );

  test('an operation without HTTP fields still matches beside one with them', () => {
    const mixed = rule({ to: [operation({ methods: ['GET'] }), operation({ ports: [8080] })] });
    expect(verdict([policy({}, mixed)], tcp())).toBe(allowed);
    expect(verdict([policy({ name: 'd', action: 'DENY' }, mixed), policy({}, rule())], tcp())).toBe('deny shop/d@7#0');
  });
});

test('a decision is frozen, and the same object each time', () => {
  const compiled = compile(to({ paths: ['/a'] }), 1);
  const decision = decide(compiled, http('GET', '/a'));
  expect(Object.isFrozen(decision)).toBe(true);
  expect(decide(compiled, http('GET', '/a'))).toBe(decision);
  expect(Object.isFrozen(decide(compiled, http('GET', '/b')))).toBe(true);
});
