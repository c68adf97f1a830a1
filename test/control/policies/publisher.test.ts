import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { PolicySet } from '../../../src/control/policies/current.ts';
import type { PublisherOptions } from '../../../src/control/policies/publisher.ts';
import { Publisher } from '../../../src/control/policies/publisher.ts';
import { Snapshots } from '../../../src/control/policies/snapshots.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import type { Policy } from '../../../src/core/policy/model.ts';
import type { RequestAuthentication } from '../../../src/core/policy/request-authentication.ts';
import type { Service, SnapshotContent } from '../../../src/core/policy/snapshot.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { policySet } from '../../support/policies.ts';

const web = 'spiffe://example.org/ns/shop/sa/web';
const orders = 'spiffe://example.org/ns/shop/sa/orders';
const vault = 'spiffe://example.org/ns/bank/sa/vault';

function policy(namespace: string, name: string, revision: number, selector: Record<string, string> = {}): Policy {
  return { namespace, name, revision, selector, action: 'ALLOW', rules: [] };
}

function setUp(initial: PolicySet = policySet(), more: Partial<PublisherOptions> = {}) {
  const policies = new WatchSource<PolicySet>(initial);
  const services = new WatchSource<readonly Service[]>([]);
  const bundle = new WatchSource<TrustBundle>({
    trustDomain: 'example.org',
    roots: [],
    jwks: { keys: [] },
    sequence: 1,
  });
  const encoded: SnapshotContent[] = [];
  const encode = (content: SnapshotContent) => {
    encoded.push(content);
    return Buffer.from(JSON.stringify(content));
  };
  const clock = new FakeClock();
  const publisher = new Publisher({ policies, services, bundle, encode, clock, logger: silentLogger, ...more });
  onTestFinished(() => publisher.close());
  const names = (spiffeId: string, labels: Record<string, string> = {}) => {
    const content = JSON.parse(publisher.current.current.for(spiffeId, labels).content.toString()) as SnapshotContent;
    return content.policies.map((each) => `${each.namespace}/${each.name}`);
  };
  return { policies, services, bundle, encoded, publisher, clock, names };
}

describe('What is published', () => {
  it('is there from the start', () => {
    const { publisher, clock } = setUp(policySet({ revision: 7, policies: [] }));
    expect(publisher.current.current).toMatchObject({ revision: 7, publishedAt: clock.now() });
  });

  it('holds for each workload the policies of its namespace and of the root namespace that select it', () => {
    const { names } = setUp(
      policySet({
        revision: 5,
        policies: [
          policy('bank', 'all', 1),
          policy('shop', 'all', 2),
          policy('shop', 'web', 3, { app: 'web' }),
          policy('writ-system', 'all', 4),
          policy('writ-system', 'web', 5, { app: 'web' }),
        ],
      }),
    );
    expect(names(web, { app: 'web', tier: 'front' })).toEqual([
      'shop/all',
      'shop/web',
      'writ-system/all',
      'writ-system/web',
    ]);
    expect(names(orders, { app: 'orders' })).toEqual(['shop/all', 'writ-system/all']);
    expect(names(vault, { app: 'orders' })).toEqual(['bank/all', 'writ-system/all']);
    expect(names(vault, { app: 'web' })).toEqual(['bank/all', 'writ-system/all', 'writ-system/web']);
    expect(names('spiffe://example.org/writ/agent/x')).toEqual(['writ-system/all']);
  });

  it('carries the SHA-256 of its content, the services and the bundle, and no selectors', () => {
    const service = { name: 'web', namespace: 'shop', spiffeId: web, endpoints: [] };
    const { publisher, services, encoded, bundle } = setUp(
      policySet({
        revision: 1,
        policies: [policy('shop', 'web', 1, { app: 'web' })],
      }),
    );
    services.set([service]);
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      const { hash, content } = publisher.current.current.for(web, { app: 'web' });
      expect(hash).toEqual(createHash('sha256').update(content).digest());
      expect(encoded).toEqual([{ policies: [policy('shop', 'web', 1)], services: [service], bundle: bundle.current }]);
    });
  });

  it('is encoded once for all workloads that have the same policies, however often it is asked for', () => {
    const { publisher, encoded } = setUp(
      policySet({ revision: 1, policies: [policy('shop', 'web', 1, { app: 'web' })] }),
    );
    const published = publisher.current.current;
    const first = published.for(web, { app: 'web', a: '1' });
    expect(published.for(web, { a: '1', app: 'web' })).toBe(first);
    expect(published.for(orders, { app: 'web', b: '2' })).toBe(first);
    expect(encoded).toHaveLength(1);
    expect(published.for(orders, {})).toBe(published.for(vault, {}));
    expect(encoded).toHaveLength(2);
  });

  it('is not taken from labels that every object has', () => {
    const { names } = setUp(policySet({ revision: 1, policies: [policy('shop', 'x', 1, { constructor: '' })] }));
    expect(names(web, {})).toEqual([]);
  });

  it('is refused to something that is no SPIFFE ID', async () => {
    const { publisher } = setUp();
    await expectAppError(() => publisher.current.current.for('web', {}), 'invalid');
  });

  it('changes once for all that changes in one turn', async () => {
    const { publisher, policies, services, bundle, clock } = setUp();
    const seen: number[] = [];
    publisher.current.subscribe((published) => seen.push(published.revision));
    policies.set(policySet({ revision: 1, policies: [] }));
    services.set([]);
    policies.set(policySet({ revision: 2, policies: [] }));
    bundle.set({ ...bundle.current, sequence: 2 });
    expect(seen).toEqual([]);
    await clock.advance(5);
    expect(seen).toEqual([2]);
    services.set([]);
    await clock.advance(5);
    expect(seen).toEqual([2, 2]);
  });

  it('stays as it was for whoever holds an older one', async () => {
    const { publisher, policies, clock } = setUp(policySet({ revision: 1, policies: [policy('shop', 'a', 1)] }));
    const before = publisher.current.current;
    policies.set(policySet({ revision: 2, policies: [] }));
    await clock.advance(5);
    expect(publisher.current.current.revision).toBe(2);
    expect(before.for(web, {}).content.toString()).toContain('"a"');
    expect(publisher.current.current.for(web, {}).hash).not.toEqual(before.for(web, {}).hash);
  });

  it('does not change any more once it is closed', async () => {
    const { publisher, policies, clock } = setUp();
    policies.set(policySet({ revision: 1, policies: [] }));
    publisher.close();
    await clock.advance(5);
    policies.set(policySet({ revision: 2, policies: [] }));
    await clock.advance(5);
    expect(publisher.current.current.revision).toBe(0);
  });

  describe('after a change', () => {
    /** Two namespaces, and one policy for all. */
    function mesh() {
      const all = policy('writ-system', 'all', 1);
      const shop = policy('shop', 'web', 2, { app: 'web' });
      const bank = policy('bank', 'vault', 3);
      const world = setUp(policySet({ revision: 3, policies: [bank, shop, all] }));
      const labels: Readonly<Record<string, Record<string, string>>> = {
        [web]: { app: 'web' },
        [orders]: { app: 'orders' },
        [vault]: {},
      };
      const snapshots = () =>
        [web, orders, vault].map((id) => world.publisher.current.current.for(id, labels[id] ?? {}));
      return { ...world, all, shop, bank, snapshots };
    }

    it('is the very same, and not encoded again, for every workload that the change does not concern', async () => {
      const { policies, encoded, clock, all, shop, bank, snapshots } = mesh();
      const before = snapshots();
      expect(encoded).toHaveLength(3);
      policies.set(policySet({ revision: 4, policies: [bank, { ...shop, revision: 4 }, all] }));
      await clock.advance(5);
      const after = snapshots();
      expect(after.map((each, index) => each === before[index])).toEqual([false, true, true]);
      expect(encoded).toHaveLength(4);
      const more = policy('shop', 'late', 5, { app: 'nobody' });
      policies.set(policySet({ revision: 5, policies: [bank, more, { ...shop, revision: 4 }, all] }));
      await clock.advance(5);
      // The candidates of the namespace are others, and what is selected of them is not.
      expect(snapshots()).not.toEqual(before);
      expect(encoded).toHaveLength(5);
      policies.set(policySet({ revision: 6, policies: [bank, { ...shop, revision: 4 }, { ...all, revision: 6 }] }));
      await clock.advance(5);
      snapshots();
      expect(encoded).toHaveLength(8);
    });

    it('is made anew for everybody when services, trust or authorizers change, and holds what they are now', async () => {
      const { services, bundle, clock, snapshots } = mesh();
      const before = snapshots();
      services.set([{ name: 'web', namespace: 'shop', spiffeId: web, endpoints: [] }]);
      await clock.advance(5);
      const between = snapshots();
      bundle.set({ ...bundle.current, sequence: 2 });
      await clock.advance(5);
      const after = snapshots();
      for (const [index, each] of after.entries()) {
        expect([
          each.hash.equals(before[index]?.hash ?? each.hash),
          each.hash.equals(between[index]?.hash ?? each.hash),
        ]).toEqual([false, false]);
        expect(JSON.parse(each.content.toString())).toMatchObject({
          bundle: { sequence: 2 },
          services: [{ name: 'web' }],
        });
      }
    });

    it('has the keys that issuers have now, and is made anew only for those who verify tokens with them', async () => {
      const rule = {
        ...{
          issuer: 'https://a.example',
          audiences: [],
          timeoutMs: 5000,
          fromHeaders: [],
          fromParams: [],
          fromCookies: [],
        },
        ...{ forwardOriginalToken: false, outputClaims: [], spaceDelimitedClaims: [] },
      };
      const users = { namespace: 'shop', name: 'users', revision: 1, selector: {}, rules: [rule] };
      const changes = new WatchSource(0);
      let kept: RequestAuthentication = users;
      const { publisher, clock } = setUp(policySet({ revision: 1, requestAuthentications: [users] }), {
        tokenKeys: { withKeys: () => kept, changes },
      });
      const before = [web, vault].map((id) => publisher.current.current.for(id, {}));
      kept = { ...users, rules: [{ ...rule, jwks: '{"keys":[1]}' }] };
      changes.set(1);
      await clock.advance(5);
      const after = [web, vault].map((id) => publisher.current.current.for(id, {}));
      expect(after[0]?.content.toString()).toContain('{\\"keys\\":[1]}');
      expect(after[1]).toBe(before[1]);
    });

    it('is what it would be had there been nothing before, whatever changes', () => {
      const names = fc.constantFrom('a', 'b', 'c');
      const namespaces = fc.constantFrom('shop', 'bank', 'writ-system');
      const apps = fc.constantFrom({}, { app: 'web' }, { app: 'orders' });
      const change = fc.record({ namespace: namespaces, name: names, selector: apps, gone: fc.boolean() });
      fc.assert(
        fc.property(fc.array(fc.array(change, { maxLength: 3 }), { maxLength: 12 }), (steps) => {
          const encode = (content: SnapshotContent) => Buffer.from(JSON.stringify(content));
          const options = {
            encode,
            rootNamespace: 'writ-system',
            federatesWith: () => [],
            withKeys: <T>(one: T) => one,
          };
          const kept = new Snapshots(options);
          const environment = {
            ...{
              services: [],
              federated: { bundles: new Map(), services: new Map() },
              authorizers: [],
              trustedProxies: 0,
            },
            bundle: { trustDomain: 'example.org', roots: [], jwks: { keys: [] }, sequence: 1 },
          };
          const there = new Map<string, Policy>();
          let revision = 0;
          for (const step of steps) {
            for (const { namespace, name, selector, gone } of step) {
              revision += 1;
              if (gone) there.delete(`${namespace}/${name}`);
              else there.set(`${namespace}/${name}`, policy(namespace, name, revision, selector));
            }
            const policies = [...there.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
            const set = policySet({ revision, policies });
            const when = { publishedAt: 0, keys: 0 };
            const published = kept.publish(set, environment, when);
            const fresh = new Snapshots(options).publish(set, environment, when);
            for (const id of [web, orders, vault]) {
              for (const labels of [{}, { app: 'web' }, { app: 'orders', more: '1' }]) {
                expect(published.for(id, labels).content.toString()).toBe(fresh.for(id, labels).content.toString());
              }
            }
          }
        }),
        { numRuns: 200, seed: 7 },
      );
    });

    it('is forgotten when nobody has asked for it for a while', async () => {
      const { publisher, policies, encoded, clock, all, shop, bank } = mesh();
      publisher.current.current.for(vault, {});
      for (let revision = 4; revision < 14; revision += 1) {
        policies.set(policySet({ revision, policies: [bank, shop, all] }));
        await clock.advance(5);
      }
      const count = encoded.length;
      publisher.current.current.for(vault, {});
      expect(encoded).toHaveLength(count + 1);
    });
  });

  it('holds what of every kind selects the workload, without selectors, and who is asked for it', () => {
    const ask: Policy = {
      ...policy('shop', 'ask', 1),
      action: 'CUSTOM',
      provider: 'opa',
      rules: [{ from: [], to: [] }],
    };
    const out: Policy = { ...policy('shop', 'out', 2), direction: 'egress' };
    const scoped = { namespace: 'shop', selector: { app: 'web' } };
    const rule = {
      ...{
        issuer: 'https://a.example',
        audiences: [],
        timeoutMs: 5000,
        fromHeaders: [],
        fromParams: [],
        fromCookies: [],
      },
      ...{ forwardOriginalToken: false, outputClaims: [], spaceDelimitedClaims: [] },
    };
    const authorizer = { address: '127.0.0.1:9000', timeoutMs: 100, maxBodyBytes: 0 };
    const set = policySet({
      revision: 6,
      policies: [ask, out],
      requestAuthentications: [{ ...scoped, name: 'users', revision: 3, rules: [rule] }],
      peerAuthentications: [{ ...scoped, name: 'plain', revision: 4, mode: 'PERMISSIVE', ports: new Map() }],
      rateLimits: [{ ...scoped, name: 'slow', revision: 5, total: { requests: 1, periodMs: 1000 }, overrides: [] }],
    });
    const { publisher } = setUp(set, {
      authorizers: [
        { name: 'opa', ...authorizer },
        { name: 'other', ...authorizer },
      ],
      trustedProxies: 2,
      tokenKeys: {
        withKeys: (one) => ({ ...one, rules: one.rules.map((each) => ({ ...each, jwks: '{"keys":[]}' })) }),
        changes: new WatchSource(0),
      },
    });
    const read = (labels: Record<string, string>) =>
      JSON.parse(publisher.current.current.for(web, labels).content.toString()) as SnapshotContent;
    expect(read({ app: 'web' })).toMatchObject({
      policies: [{ name: 'ask' }],
      egress: [{ name: 'out', direction: 'egress' }],
      requestAuthentications: [{ name: 'users', selector: {}, rules: [{ jwks: '{"keys":[]}' }] }],
      peerAuthentication: { mode: 'PERMISSIVE' },
      rateLimits: [{ name: 'slow', selector: {} }],
      authorizers: [{ name: 'opa' }],
      trustedProxies: 2,
    });
    const other = read({ app: 'orders' });
    for (const name of ['requestAuthentications', 'peerAuthentication', 'rateLimits'])
      expect(other).not.toHaveProperty(name);
  });
});
