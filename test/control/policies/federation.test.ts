import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { Entries } from '../../../src/control/authority/entries/entries.ts';
import { EntrySet } from '../../../src/control/authority/entries/entry-set.ts';
import type { Federated } from '../../../src/control/authority/federation/federated-bundles.ts';
import type { PolicySet } from '../../../src/control/policies/current.ts';
import { FederatesWith } from '../../../src/control/policies/federates-with.ts';
import { Publisher } from '../../../src/control/policies/publisher.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { openStore } from '../../../src/control/store/store.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import type { Service, SnapshotContent } from '../../../src/core/policy/snapshot.ts';
import { policySet } from '../../support/policies.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';

function bundleOf(trustDomain: string, sequence = 1): TrustBundle {
  return { trustDomain, roots: [], jwks: { keys: [] }, sequence };
}

function serviceOf(trustDomain: string, name: string): Service {
  return { namespace: 'shop', name, spiffeId: `spiffe://${trustDomain}/ns/shop/sa/${name}`, endpoints: [] };
}

describe('What is published of other trust domains', () => {
  let store: Store;
  let entries: Entries;
  let set: EntrySet;
  let federated: WatchSource<Federated>;
  let publisher: Publisher;
  let published: number;

  beforeEach(async () => {
    const clock = systemClock;
    const logger = silentLogger;
    store = await openStore({ kind: 'sqlite', path: ':memory:' }, { clock, logger });
    entries = new Entries({ store, trustDomain: 'example.org', clock });
    set = await EntrySet.open({ store, trustDomain: 'example.org', clock, logger });
    const federatesWith = new FederatesWith(set.current);
    federated = new WatchSource<Federated>({
      bundles: new Map(['partner.example', 'other.example'].map((name) => [name, bundleOf(name)])),
      services: new Map([
        ['partner.example', [serviceOf('partner.example', 'orders')]],
        ['other.example', [serviceOf('other.example', 'mail')]],
        ['silent.example', [serviceOf('silent.example', 'none')]],
      ]),
    });
    publisher = new Publisher({
      policies: new WatchSource<PolicySet>(policySet({ revision: 1, policies: [] })),
      services: new WatchSource<readonly Service[]>([serviceOf('example.org', 'web')]),
      bundle: new WatchSource(bundleOf('example.org')),
      federation: { federated, federatesWith: (id) => federatesWith.of(id), changes: federatesWith.changes },
      encode: (content) => Buffer.from(JSON.stringify(content)),
      clock,
      logger,
    });
    published = 0;
    publisher.current.subscribe(() => {
      published += 1;
    });
    onTestFinished(async () => {
      publisher.close();
      federatesWith.close();
      set.close();
      await store.close();
    });
  });

  const register = async (spiffeId: string, federatesWith: readonly string[], more: object = {}) => {
    const entry = await entries.create({ spiffeId, federatesWith, ...more } as Parameters<Entries['create']>[0]);
    await set.settled();
    await turn();
    return entry;
  };
  const of = (spiffeId: string) => {
    const { content, needs } = publisher.current.current.for(spiffeId, {});
    const { federated: bundles = [], services } = JSON.parse(content.toString()) as SnapshotContent;
    return {
      bundles: bundles.map((bundle) => bundle.trustDomain),
      services: services.map((service) => service.spiffeId),
      needs,
    };
  };
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  it('only workloads that federate with a trust domain get its bundle and its services', async () => {
    await register(WEB, ['partner.example']);
    await register(ORDERS, []);
    expect(of(WEB)).toEqual({
      bundles: ['partner.example'],
      services: ['spiffe://example.org/ns/shop/sa/web', 'spiffe://partner.example/ns/shop/sa/orders'],
      needs: ['federation'],
    });
    expect(of(ORDERS)).toEqual({ bundles: [], services: ['spiffe://example.org/ns/shop/sa/web'], needs: [] });
    expect(of('spiffe://example.org/ns/shop/sa/nobody').bundles).toEqual([]);
  });

  it('all entries of an identity count together, and so does a template', async () => {
    await register(WEB, ['partner.example'], { selectors: ['a:1'] });
    await register(WEB, ['other.example', 'partner.example'], { selectors: ['a:2'] });
    expect(of(WEB).bundles).toEqual(['other.example', 'partner.example']);
    await register('spiffe://example.org/ns/shop/sa/{{k8s.sa}}', ['other.example'], {
      selectors: ['k8s:ns:shop'],
      parentId: 'spiffe://example.org/writ/control-plane',
    });
    expect(of(ORDERS).bundles).toEqual(['other.example']);
  });

  it('a trust domain without a bundle is left out, services and all', async () => {
    await register(WEB, ['silent.example', 'unknown.example']);
    expect(of(WEB)).toEqual({ bundles: [], services: ['spiffe://example.org/ns/shop/sa/web'], needs: [] });
  });

  it('a bundle that comes, changes or goes is published, and an entry that starts or ends to federate', async () => {
    const entry = await register(WEB, ['partner.example']);
    expect(published).toBe(1);
    const first = publisher.current.current.for(WEB, {}).hash;
    const { bundles, services } = federated.current;
    federated.set({ services, bundles: new Map([...bundles, ['partner.example', bundleOf('partner.example', 2)]]) });
    await turn();
    expect(publisher.current.current.for(WEB, {}).hash).not.toEqual(first);
    federated.set({ services, bundles: new Map() });
    await turn();
    expect(of(WEB).bundles).toEqual([]);
    federated.set({ services, bundles });
    await turn();
    await entries.update(entry.id, { spiffeId: WEB, federatesWith: [] } as never, '*');
    await set.settled();
    await turn();
    expect(of(WEB).bundles).toEqual([]);
    expect(published).toBe(5);
  });

  it('entries that federate with nobody publish nothing', async () => {
    await register(WEB, []);
    await register(ORDERS, []);
    expect(published).toBe(0);
  });
});
