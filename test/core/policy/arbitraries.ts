import fc from 'fast-check';
import type { Operation, Policy, Request, Rule, Source, StringMatch } from '../../../src/core/policy/model.ts';
import { m } from './support.ts';

/**
 * Policies and requests over alphabets so small that rules really match, several at once, and nearly match. Many rules name
 * the same caller, path or port, so that the index has to part them by every dimension.
 */
const trustDomains = ['a', 'b'];
const namespaceNames = ['n', 'nn', 'm'];
const services = ['s', 't', 'st'];
const sources = [
  ...trustDomains.flatMap((td) => namespaceNames.flatMap((n) => services.map((s) => `spiffe://${td}/ns/${n}/sa/${s}`))),
  'spiffe://a/ns/n/sa/s/x',
  'spiffe://a/x/ns/n/sa/s',
  'spiffe://a/writ/control-plane',
  'spiffe://a',
  '',
];
const principals = [
  ...['*', 'a/ns/n/sa/s', 'a/ns/n/sa/t', 'a/ns/nn/sa/s', 'b/ns/m/sa/st', 'b/ns/n/sa/s', 'a/*', 'a/ns/n*', 'a/ns/n/*'],
  ...['a/ns/nn/*', 'b/ns/*', '*s', '*/sa/s', '*t', '*n/sa/t', '*control-plane', 'a/ns/n/sa/s*', '*a/ns/n/sa/s'],
];
const namespaces = ['n', 'nn', 'm', 'x', '*', 'n*', '*n', 'nn*', '*m'];
const methods = ['GET', 'POST', 'PUT', '*', 'P*', '*T', 'G*'];
const paths = ['/', '/a', '/b', '/ab', '/a/b', '/a*', '/a/*', '/*', '*b', '*/b', '*', '/a/b*', '*a', '/b/*', '/ab*'];
const requestPaths = ['/', '/a', '/b', '/ab', '/a/b', '/a/a', '/b/a', '/a/b/b', '/abb', '', '/c'];
const ports = [80, 81, 82];

const some = (values: readonly string[]): fc.Arbitrary<StringMatch[]> =>
  fc.array(fc.constantFrom(...values.map(m)), { maxLength: 3 });
/** Rarely given, so that rules stay wide enough to match. */
const maybe = (values: readonly string[]) => fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, some(values));

const source: fc.Arbitrary<Source> = fc.record({ principals: some(principals), namespaces: maybe(namespaces) });
const operation: fc.Arbitrary<Operation> = fc.record({
  methods: maybe(methods),
  paths: some(paths),
  ports: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.subarray(ports)),
});
const rule: fc.Arbitrary<Rule> = fc.record({
  from: fc.array(source, { maxLength: 3 }),
  to: fc.array(operation, { maxLength: 3 }),
});
const policy: fc.Arbitrary<Policy> = fc.record({
  namespace: fc.constantFrom('r', 's'),
  name: fc.constantFrom('p', 'q', 'r', 's', 't', 'u', 'v', 'w'),
  revision: fc.constantFrom(1, 2),
  selector: fc.constant({}),
  action: fc.constantFrom('ALLOW', 'ALLOW', 'DENY'),
  rules: fc.array(rule, { maxLength: 6 }),
});

/** Distinct by namespace and name, as the store sees to. */
export const policySets: fc.Arbitrary<Policy[]> = fc.uniqueArray(policy, {
  maxLength: 12,
  selector: (p) => `${p.namespace}/${p.name}`,
});

export const requests: fc.Arbitrary<Request> = fc
  .record({
    source: fc.constantFrom(...sources),
    port: fc.constantFrom(...ports, 83),
    http: fc.option(
      fc.record({ method: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', ''), path: fc.constantFrom(...requestPaths) }),
      { nil: undefined, freq: 6 },
    ),
  })
  .map(({ source: caller, port, http }) => ({ source: caller, port, ...(http !== undefined && { http }) }));
