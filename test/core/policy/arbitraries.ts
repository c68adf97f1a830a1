import fc from 'fast-check';
import type {
  Condition,
  Operation,
  Policy,
  Request,
  Rule,
  Source,
  StringMatch,
} from '../../../src/core/policy/model.ts';
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

/** What each condition may ask for, and what requests have of it; overlapping, so that both twins matter. */
const asked: Readonly<Record<string, readonly string[]>> = {
  'source.principal': principals,
  'source.namespace': namespaces,
  'source.serviceAccount': ['n/s', 'n/t', 'm/st'],
  'source.trustDomain': ['a', 'b', '*', 'a*', '*b', 'c'],
  'source.ip': ['10.0.0.1', '10.0.0.0/8', '10.0.1.0/24', '0.0.0.0/0', '192.168.0.1/32'],
  'remote.ip': ['10.0.0.1', '10.0.0.0/24'],
  'destination.ip': ['10.9.0.1', '10.9.0.0/16', '10.8.0.0/16'],
  'destination.port': ['80', '81'],
  'connection.sni': ['x.a', 'y.a', '*.a', 'x*', '*'],
  'request.auth.principal': ['*', 'i/u', 'i/*', '*/u', 'i/u*', '*i/u', 'i*', '*u', 'j/v'],
  'request.auth.audiences': ['x', 'y', '*', 'x*'],
  'request.auth.presenter': ['p', '*'],
  'request.auth.claims[scope]': ['read', 'write', '*'],
  'request.auth.claims[g]': ['u', 'v', 'u*', '*'],
  'request.auth.claims[r][k]': ['u', 'v*'],
  'request.headers[h]': ['1', '2', '1*', '*2', '*', '1,2'],
  'request.headers[H]': ['1', '*'],
  'operation.host': ['Shop', 'shop:80', 'shop:*', '*.a', '*', 'SHOP*'],
  'operation.method': methods,
  'operation.path': [...paths, '/a/{*}', '/{**}', '/{*}/b/{**}'],
};

const condition = (keys: readonly string[]): fc.Arbitrary<Condition> =>
  fc.constantFrom(...keys).chain((key) => {
    const value = fc.constantFrom(...(asked[key] ?? []));
    return fc
      .record({ values: fc.array(value, { maxLength: 3 }), notValues: fc.array(value, { maxLength: 1 }) })
      .filter(({ values, notValues }) => values.length + notValues.length > 0)
      .map((twins) => ({ key, ...twins }));
  });
const keys = Object.keys(asked);
const whenKeys = keys.filter((key) => !key.startsWith('operation.'));
const inSource = whenKeys.filter(
  (key) => key.startsWith('source.') || key === 'remote.ip' || key.endsWith('principal'),
);
const inOperation = ['operation.host', 'operation.method', 'operation.path', 'destination.port'];
const few = (from: readonly string[]) =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant({}) },
    fc.array(condition(from), { minLength: 1, maxLength: 2 }).map((where) => ({ where })),
  );

const source: fc.Arbitrary<Source> = fc
  .tuple(fc.record({ principals: some(principals), namespaces: maybe(namespaces) }), few(inSource))
  .map(([fields, where]) => ({ ...fields, ...where }));
const operation: fc.Arbitrary<Operation> = fc
  .tuple(
    fc.record({
      methods: maybe(methods),
      paths: fc.oneof(
        { weight: 4, arbitrary: some(paths) },
        fc
          .constantFrom('/a/{*}', '/{**}', '/a{**}', '/{*}/b')
          .map((value): StringMatch[] => [{ kind: 'template', value: value.replace('/a{', '/a/{') }]),
      ),
      ports: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.subarray(ports)),
    }),
    few(inOperation),
  )
  .map(([fields, where]) => ({ ...fields, ...where }));
const rule: fc.Arbitrary<Rule> = fc
  .record({ from: fc.array(source, { maxLength: 3 }), to: fc.array(operation, { maxLength: 3 }), when: few(whenKeys) })
  .map(({ from, to, when }) => ({ from, to, ...('where' in when && { when: when.where }) }));
const policy: fc.Arbitrary<Policy> = fc
  .record({
    namespace: fc.constantFrom('r', 's'),
    name: fc.constantFrom('p', 'q', 'r', 's', 't', 'u', 'v', 'w'),
    revision: fc.constantFrom(1, 2),
    selector: fc.constant({}),
    action: fc.constantFrom('ALLOW', 'ALLOW', 'ALLOW', 'DENY', 'AUDIT', 'CUSTOM'),
    provider: fc.constantFrom('x', 'y'),
    rules: fc.array(rule, { maxLength: 6 }),
    validity: fc.constantFrom(
      undefined,
      undefined,
      undefined,
      { notBefore: 5 },
      { notAfter: 5 },
      { notBefore: 3, notAfter: 7 },
    ),
    shadow: fc.constantFrom(false, false, false, true),
  })
  .map(({ validity, shadow, provider, ...fields }) => ({
    ...fields,
    ...(validity !== undefined && { validity }),
    ...(fields.action === 'CUSTOM' && { provider }),
    ...(shadow && (fields.action === 'ALLOW' || fields.action === 'DENY') && { shadow }),
  }));

/** Distinct by namespace and name, as the store sees to. */
export const policySets: fc.Arbitrary<Policy[]> = fc.uniqueArray(policy, {
  maxLength: 12,
  selector: (p) => `${p.namespace}/${p.name}`,
});

/** About the calls that a workload makes; every second set is only being tried. */
export const egressSets: fc.Arbitrary<Policy[]> = fc.tuple(policySets, fc.boolean()).map(([policies, tried]) =>
  policies
    .filter((each) => each.action !== 'CUSTOM')
    .map((each) => ({
      ...each,
      direction: 'egress' as const,
      ...(tried && each.action !== 'AUDIT' && { shadow: true }),
    })),
);

const headers = fc.constantFrom<readonly (readonly string[])[]>(
  [],
  [['1']],
  [['2']],
  [['']],
  [['1', '2']],
  [['2', '2']],
);
const token = fc.constantFrom(
  undefined,
  { trustDomain: 'a', claims: { sub: 'u' } },
  { trustDomain: 'a', claims: { iss: 'i', sub: 'u', aud: 'x', scope: 'read write', g: ['u', 'v', 3] } },
  { trustDomain: 'i', claims: { sub: 'uu', aud: ['y', 'xx'], azp: 'p', r: { k: 'v1' } } },
  { trustDomain: 'b', claims: { iss: 'j', sub: 'v', g: 'u', r: ['u'], scope: '' } },
);
const http = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', ''),
    path: fc.constantFrom(...requestPaths),
    host: fc.constantFrom(undefined, 'shop', 'Shop:80', 'x.a', 'shop:81'),
    headers,
    token,
  })
  .map(({ method, path, host, headers: given, token: held }) => ({
    method,
    path,
    headers: new Map(given.map((values) => ['h', values] as const)),
    ...(host !== undefined && { host }),
    ...(held !== undefined && { token: held }),
  }));

export const requests: fc.Arbitrary<Request> = fc
  .record({
    source: fc.constantFrom(...sources),
    port: fc.constantFrom(...ports, 83),
    time: fc.constantFrom(undefined, 1, 3, 5, 7),
    connection: fc.constantFrom(
      undefined,
      { peerIp: '10.0.0.1', ownIp: '10.9.0.1', sni: 'x.a' },
      { peerIp: '10.0.1.7', ownIp: '10.8.0.1' },
      { peerIp: '192.168.0.1', sni: 'y.a' },
      { peerIp: '192.168.0.1', remoteIp: '10.0.0.1' },
    ),
    plaintext: fc.constantFrom(undefined, undefined, undefined, undefined, undefined, true as const),
    http: fc.option(http, { nil: undefined, freq: 6 }),
  })
  .map(({ source: caller, port, time, connection, plaintext, http: request }) => ({
    // Seldom one who has an identity in spite of it.
    source: plaintext === true && caller !== 'spiffe://a/ns/n/sa/s' ? '' : caller,
    ...(plaintext !== undefined && { plaintext }),
    port,
    ...(time !== undefined && { time }),
    ...(connection !== undefined && { connection }),
    ...(request !== undefined && { http: request }),
  }));
