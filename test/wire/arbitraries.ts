import * as fc from 'fast-check';
import type { TrustBundle } from '../../src/core/identity/bundle.ts';
import type { WorkloadEntry } from '../../src/core/identity/workload-entry.ts';
import type { Condition, Policy, StringMatch } from '../../src/core/policy/model.ts';
import type { Service, SnapshotContent } from '../../src/core/policy/snapshot.ts';

/** Values of the core types, as wide as the wire carries them. */

export const buffer = (minLength: number, maxLength = minLength) =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));
export const hash = buffer(32);
export const hashOrEmpty = fc.oneof(hash, fc.constant(Buffer.alloc(0)));
export const count = fc.oneof(fc.nat(), fc.maxSafeNat());
/** Any Unicode text; lone surrogates have no UTF-8. */
export const text = (maxLength = 40) => fc.string({ unit: 'binary', minLength: 1, maxLength });
export const time = fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 });
export const port = fc.integer({ min: 1, max: 65_535 });
export const address = fc
  .tuple(fc.constantFrom('10.0.0.1', 'orders.shop', '[::1]', 'a'), port)
  .map(([h, p]) => `${h}:${p}`);
export const protocol = fc.constantFrom('http', 'tcp');
const segment = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/);
export const spiffeId = fc.tuple(segment, segment, segment).map(([td, ns, sa]) => `spiffe://${td}/ns/${ns}/sa/${sa}`);
export const trustDomain = segment;
export const labels = fc.dictionary(text(), fc.string({ maxLength: 20 }));

export const trustBundle: fc.Arbitrary<TrustBundle> = fc.record({
  trustDomain: segment,
  roots: fc.array(buffer(1, 60), { minLength: 1, maxLength: 3 }),
  jwks: fc.record({ keys: fc.array(fc.record({ kty: fc.constant('EC'), kid: text(), x: text() }), { maxLength: 3 }) }),
  sequence: count,
});

export const workloadEntry: fc.Arbitrary<WorkloadEntry> = fc.record({
  id: text(),
  revision: count,
  spiffeId,
  selectors: fc.array(text(), { maxLength: 3 }),
  namespaces: fc.array(segment, { maxLength: 3 }),
  federatesWith: fc.array(segment, { maxLength: 3 }),
  dnsNames: fc.array(segment, { maxLength: 3 }),
  hint: fc.string({ maxLength: 20 }),
  expiresAt: fc.option(time),
});

const match: fc.Arbitrary<StringMatch> = fc.oneof(
  fc.record({ kind: fc.constant('exact'), value: fc.string({ unit: 'binary', maxLength: 20 }) }),
  fc.record({ kind: fc.constantFrom('prefix', 'suffix'), value: text() }),
  fc.record({ kind: fc.constant('present') }),
);
const few = <T>(arbitrary: fc.Arbitrary<T>) => fc.array(arbitrary, { maxLength: 3 });

const condition: fc.Arbitrary<Condition> = fc
  .constantFrom(
    ['source.principal', 'a/b', 'a/*', '*'],
    ['source.ip', '10.0.0.0/8', '::1'],
    ['destination.port', '80', '443'],
    ['source.serviceAccount', 'a/b', 'c/d'],
    ['request.auth.principal', 'iss/sub', '*/sub', '*'],
    ['request.headers[x-a]', 'a', '*b', '*'],
    ['request.auth.claims[a][b]', 'a*', 'b'],
    ['operation.host', 'Shop', '*.example.org:80'],
    ['operation.path', '/a/{*}/b', '/x*'],
  )
  .chain(([key = '', ...texts]) => {
    const some = fc.array(fc.constantFrom(...texts), { maxLength: 3 });
    return fc
      .record({ values: fc.array(fc.constantFrom(...texts), { minLength: 1 }), notValues: some })
      .map((twins) => ({
        key,
        ...twins,
      }));
  });
const template: fc.Arbitrary<StringMatch> = fc
  .constantFrom('/{**}', '/a/{*}/b')
  .map((value) => ({ kind: 'template', value }));
const where = fc.option(fc.array(condition, { minLength: 1, maxLength: 3 }), { nil: undefined });

const policy: fc.Arbitrary<Policy> = fc
  .record({
    namespace: segment,
    name: segment,
    revision: count,
    selector: fc.constant({}),
    action: fc.constantFrom('ALLOW', 'DENY', 'AUDIT', 'CUSTOM'),
    provider: segment,
    rules: few(
      fc
        .record({
          from: few(fc.record({ principals: few(match), namespaces: few(match), where }).map(defined)),
          to: few(
            fc
              .record({ methods: few(match), paths: few(fc.oneof(match, template)), ports: few(port), where })
              .map(defined),
          ),
          when: where,
        })
        .map(defined),
    ),
    shadow: fc.constantFrom(undefined, true),
    validity: fc.constantFrom(undefined, { notBefore: 0 }, { notAfter: 1 }, { notBefore: -1, notAfter: 5_000 }),
  })
  .map(({ provider, ...fields }) =>
    defined({ ...fields, ...(fields.action === 'CUSTOM' && { provider }) }),
  ) as fc.Arbitrary<Policy>;
const egressPolicy: fc.Arbitrary<Policy> = policy
  .filter((each) => each.action !== 'CUSTOM')
  .map((each) => ({ ...each, direction: 'egress' }));

/** Without the fields that have no value. */
function defined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;
}

const service: fc.Arbitrary<Service> = fc.record({
  name: segment,
  namespace: segment,
  spiffeId,
  endpoints: few(fc.oneof(fc.record({ address, protocol }), fc.record({ address, protocol, applicationPort: port }))),
});

export const snapshotContent: fc.Arbitrary<SnapshotContent> = fc.record({
  policies: few(policy),
  services: few(service),
  bundle: trustBundle,
});

/** With bundles of other trust domains. */
export const federatedContent: fc.Arbitrary<SnapshotContent> = fc.record({
  policies: few(policy),
  services: few(service),
  bundle: trustBundle,
  federated: fc.array(trustBundle, { minLength: 1, maxLength: 3 }),
});

const rate = fc.record({
  requests: fc.integer({ min: 1, max: 1_000_000_000 }),
  periodMs: fc.integer({ min: 1, max: 86_400_000 }),
});
const maybeRate = fc.option(rate, { nil: undefined });

/** With all that the checks of a sidecar are told. */
export const checkedContent: fc.Arbitrary<SnapshotContent> = fc
  .record({
    policies: few(policy),
    egress: fc.array(egressPolicy, { minLength: 1, maxLength: 3 }),
    services: few(service),
    bundle: trustBundle,
    rateLimits: fc.array(
      fc
        .record({
          namespace: segment,
          name: segment,
          revision: count,
          selector: fc.constant({}),
          total: maybeRate,
          perSource: maybeRate,
          overrides: few(fc.record({ principals: fc.array(match, { minLength: 1, maxLength: 3 }), rate })),
        })
        .map(defined),
      { minLength: 1, maxLength: 3 },
    ),
    authorizers: fc.uniqueArray(
      fc.record({
        name: segment,
        address: fc.constantFrom('127.0.0.1:9191', 'localhost:1', '[::1]:65535'),
        timeoutMs: fc.integer({ min: 1, max: 60_000 }),
        maxBodyBytes: fc.constant(0),
      }),
      { minLength: 1, maxLength: 3, selector: ({ name }) => name },
    ),
    trustedProxies: fc.option(fc.integer({ min: 1, max: 16 }), { nil: undefined }),
  })
  .map(defined) as fc.Arbitrary<SnapshotContent>;
