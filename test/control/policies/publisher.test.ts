import { createHash } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { PolicySet } from '../../../src/control/policies/current.ts';
import { Publisher } from '../../../src/control/policies/publisher.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import type { Policy } from '../../../src/core/policy/model.ts';
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

function setUp(initial: PolicySet = policySet({ revision: 0, policies: [] })) {
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
  const publisher = new Publisher({ policies, services, bundle, encode, clock, logger: silentLogger });
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
});
