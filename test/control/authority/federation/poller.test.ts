import { expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { WatchSource } from '../../../../src/base/watch.ts';
import { FederatedBundles } from '../../../../src/control/authority/federation/federated-bundles.ts';
import { Federation } from '../../../../src/control/authority/federation/federation.ts';
import type { EndpointTrust } from '../../../../src/control/authority/federation/poller.ts';
import { BundlePoller, pollIntervalMs } from '../../../../src/control/authority/federation/poller.ts';
import type { Store } from '../../../../src/control/store/store.ts';
import type { TrustBundle } from '../../../../src/core/identity/bundle.ts';
import { fingerprint, spiffeBundle } from '../../../../src/core/identity/bundle.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import { createTestAuthority } from '../../../support/pki.ts';
import { listRecorder } from '../../../support/recorder.ts';
import type { StoreBench } from '../../../support/stores.ts';
import { describeEachStore } from '../../../support/stores.ts';

const ours = createTestAuthority();
const partner = createTestAuthority({ trustDomain: 'partner.example' });
const next = createTestAuthority({ trustDomain: 'partner.example' });
const web = { url: 'https://partner.example/', profile: 'https_web' } as const;
const spiffe = {
  url: 'https://partner.example/',
  profile: 'https_spiffe',
  spiffeId: 'spiffe://partner.example/writ/control-plane',
} as const;

function document(bundle: Partial<TrustBundle> = {}, change: object = {}): Buffer {
  return Buffer.from(JSON.stringify({ ...spiffeBundle({ ...partner.bundle, ...bundle }), ...change }));
}

/** One replica of a control plane, as far as federation goes. */
async function replica(store: Store, clock: FakeClock) {
  const recorder = listRecorder();
  const federation = new Federation({ store, trustDomain: 'example.org', clock, recorder });
  const federated = await FederatedBundles.open({ store, clock, logger: silentLogger });
  const asked: { readonly url: string; readonly trust: EndpointTrust }[] = [];
  const endpoint = { answer: async (): Promise<Buffer> => document() };
  const poller = new BundlePoller({
    store,
    federated,
    bundle: new WatchSource(ours.bundle),
    fetch: async (url, trust) => {
      asked.push({ url, trust });
      return await endpoint.answer();
    },
    recorder,
    clock,
    logger: silentLogger,
    // The middle of the jitter.
    random: (length) => Buffer.alloc(length, 0x80),
  });
  const stop = new AbortController();
  let running: Promise<void> | undefined;
  onTestFinished(async () => {
    stop.abort();
    await running;
    federated.close();
  });
  const roots = () => federated.bundles.current.get('partner.example')?.roots.map(fingerprint);
  return {
    recorder,
    federation,
    federated,
    asked,
    endpoint,
    poller,
    roots,
    run: () => {
      running = poller.run(stop.signal);
    },
  };
}

async function setUp(bench: StoreBench) {
  const clock = new FakeClock(Date.now());
  // The store has a clock of its own, so that the only timers here are those of polls.
  const store = await bench.open();
  return { clock, store, ...(await replica(store, clock)) };
}

const rootOf = (authority: typeof partner) => authority.bundle.roots.map(fingerprint);

describeEachStore('Federated bundles', (bench) => {
  it('spiffe 48: a new relationship is polled at once, then at the refresh hint of its bundle', async () => {
    const { clock, federation, asked, endpoint, roots, run } = await setUp(bench);
    run();
    endpoint.answer = async () => document({}, { spiffe_refresh_hint: 60 });
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    await expect.poll(roots).toEqual(rootOf(partner));
    expect(asked).toEqual([{ url: web.url, trust: { kind: 'web', caCertificates: null } }]);
    await expect.poll(() => clock.pendingTimers).toBe(1);
    await clock.advance(53_000);
    expect(asked).toHaveLength(1);
    endpoint.answer = async () => document({ roots: next.bundle.roots, sequence: 2 });
    await clock.advance(14_000);
    await expect.poll(roots).toEqual(rootOf(next));
    expect(asked).toHaveLength(2);
  });

  it('spiffe 44: without a hint it is polled every five minutes, and hints have a floor and a cap', () => {
    expect(pollIntervalMs({ refreshHintSeconds: undefined })).toBe(300_000);
    expect(pollIntervalMs({ refreshHintSeconds: 1 })).toBe(10_000);
    expect(pollIntervalMs({ refreshHintSeconds: 90 })).toBe(90_000);
    expect(pollIntervalMs({ refreshHintSeconds: 10 ** 9 })).toBe(3_600_000);
    expect(pollIntervalMs(undefined)).toBe(30_000);
  });

  it('spiffe 48: after a failure the last good bundle stays, the reason is shown, and the next interval tries again', async () => {
    const { clock, federation, asked, endpoint, roots, run } = await setUp(bench);
    run();
    endpoint.answer = async () => document({}, { spiffe_refresh_hint: 60 });
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    await expect.poll(roots).toEqual(rootOf(partner));
    endpoint.answer = async () => {
      throw new AppError('peer-refused', 'The certificate is refused.');
    };
    const lastError = async () => (await federation.get('partner.example')).bundle.lastError;
    await expect.poll(() => clock.pendingTimers).toBe(1);
    await clock.advance(67_000);
    await expect.poll(lastError).toBe('peer-refused: The certificate is refused.');
    expect(roots()).toEqual(rootOf(partner));
    await expect.poll(() => clock.pendingTimers).toBe(1);
    await clock.advance(50_000);
    expect(asked).toHaveLength(2);
    endpoint.answer = async () => document({ sequence: 3 });
    await clock.advance(17_000);
    await expect.poll(lastError).toBe(null);
    expect(asked).toHaveLength(3);
  });

  it('spiffe 48: bundles are ordered by sequence, and none goes back', async () => {
    const { federation, endpoint, poller, roots } = await setUp(bench);
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    endpoint.answer = async () => document({ roots: next.bundle.roots, sequence: 7 });
    await poller.refresh('partner.example');
    endpoint.answer = async () => document({ sequence: 6 });
    await expectAppError(poller.refresh('partner.example'), 'conflict', /served bundle 6, which is older than 7/);
    expect(roots()).toEqual(rootOf(next));
    expect((await federation.get('partner.example')).bundle.lastError).toMatch(/^conflict: .* older than 7/);
    // Only an operator can go back.
    await federation.put({
      trustDomain: 'partner.example',
      bundleEndpoint: web,
      bundle: document({ sequence: 1 }).toString(),
    });
    await poller.refresh('partner.example');
    expect(roots()).toEqual(rootOf(partner));
  });

  it('spiffe 43: sequences of 64 bits are compared to the last digit', async () => {
    const { federation, endpoint, poller, roots } = await setUp(bench);
    const counted = (bundle: Partial<TrustBundle>, sequence: string) =>
      Buffer.from(
        document(bundle)
          .toString()
          .replace(/"spiffe_sequence":\d+/, `"spiffe_sequence":${sequence}`),
      );
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    endpoint.answer = async () => counted({}, '18446744073709551615');
    await poller.refresh('partner.example');
    endpoint.answer = async () => counted({ roots: next.bundle.roots }, '18446744073709551614');
    await expectAppError(poller.refresh('partner.example'), 'conflict');
    expect(roots()).toEqual(rootOf(partner));
  });

  it('spiffe 45: a bundle without keys takes all trust away', async () => {
    const { federation, federated, endpoint, poller } = await setUp(bench);
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    await poller.refresh('partner.example');
    expect(federated.bundles.current.size).toBe(1);
    endpoint.answer = async () => Buffer.from('{"keys":[],"spiffe_sequence":2}');
    await poller.refresh('partner.example');
    expect(federated.bundles.current.size).toBe(0);
    expect((await federation.get('partner.example')).bundle.document).toMatchObject({ roots: [], sequence: 2n });
  });

  it('spiffe 46, spiffe 48: a document that is not whole changes nothing', async () => {
    const { federation, endpoint, poller, roots, recorder } = await setUp(bench);
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    await poller.refresh('partner.example');
    for (const text of ['', '<html>', '{}', '{"keys":[],"keys":[]}', '{"keys":[],"spiffe_sequence":"x"}']) {
      endpoint.answer = async () => Buffer.from(text);
      await expectAppError(poller.refresh('partner.example'), 'invalid');
      expect(roots()).toEqual(rootOf(partner));
    }
    expect(recorder.events).toHaveLength(2);
  });

  it('spiffe 52: the endpoint is verified with the bundle to begin with, later with the latest that was fetched', async () => {
    const { federation, asked, endpoint, poller } = await setUp(bench);
    await expectAppError(
      federation.put({ trustDomain: 'partner.example', bundleEndpoint: spiffe }),
      'invalid',
      /\/bundle is missing/,
    );
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: spiffe, bundle: document().toString() });
    endpoint.answer = async () => document({ roots: next.bundle.roots, sequence: 2 });
    await poller.refresh('partner.example');
    await poller.refresh('partner.example');
    const used = asked.map(({ trust }) => (trust.kind === 'spiffe' ? trust.bundle.roots.map(fingerprint) : []));
    expect(used).toEqual([rootOf(partner), rootOf(next)]);
    expect(asked[0]?.trust).toMatchObject({ kind: 'spiffe', spiffeId: spiffe.spiffeId });
    // Changing something else needs no bundle again.
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: spiffe, services: [] });
  });

  it('spiffe 50: each bundle belongs to the trust domain that it was configured for, and none is merged', async () => {
    const { federation, federated, endpoint, poller } = await setUp(bench);
    const other = createTestAuthority({ trustDomain: 'other.example' });
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    await federation.put({ trustDomain: 'other.example', bundleEndpoint: { ...web, url: 'https://other.example/' } });
    await poller.refresh('partner.example');
    // The partner's endpoint serves somebody else's roots: they are of no trust domain here.
    endpoint.answer = async () => Buffer.from(JSON.stringify(spiffeBundle({ ...other.bundle, sequence: 2 })));
    await poller.refresh('other.example');
    await poller.refresh('partner.example');
    const bundles = federated.bundles.current;
    expect(bundles.get('other.example')?.roots.map(fingerprint)).toEqual(rootOf(other));
    expect(bundles.get('partner.example')?.roots).toEqual([]);
  });

  it('several replicas poll, and the newest bundle wins on all of them', async () => {
    const clock = new FakeClock(Date.now());
    const database = await bench.database();
    const stores = [await bench.open(database), await bench.open(database)] as const;
    const [a, b] = [await replica(stores[0], clock), await replica(stores[1], clock)];
    await a.federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    await expect.poll(() => b.federated.relationships.current.size).toBe(1);
    a.endpoint.answer = async () => document({ sequence: 5 });
    b.endpoint.answer = async () => document({ roots: next.bundle.roots, sequence: 6 });
    const polled = await Promise.allSettled([a.poller.refresh('partner.example'), b.poller.refresh('partner.example')]);
    expect(polled[1]?.status).toBe('fulfilled');
    expect((await a.federation.get('partner.example')).bundle.document?.sequence).toBe(6n);
    await expectAppError(a.poller.refresh('partner.example'), 'conflict');
    await expect.poll(() => a.roots()).toEqual(rootOf(next));
  });

  it('an answer that comes after its relationship was changed or ended is worth nothing', async () => {
    const { federation, endpoint, poller, federated } = await setUp(bench);
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    endpoint.answer = async () => {
      await federation.put({ trustDomain: 'partner.example', bundleEndpoint: { ...web, url: 'https://new.example/' } });
      return document();
    };
    await poller.refresh('partner.example');
    expect(federated.bundles.current.size).toBe(0);
    endpoint.answer = async () => {
      await federation.delete('partner.example');
      return document();
    };
    await poller.refresh('partner.example');
    expect(federated.bundles.current.size).toBe(0);
    expect((await federation.list()).items).toEqual([]);
  });

  it('trust that changes is on the record before it counts; a poll that finds nothing new changes no revision', async () => {
    const { federation, federated, endpoint, poller, recorder, store } = await setUp(bench);
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    recorder.fail();
    await expectAppError(poller.refresh('partner.example'), 'unavailable');
    expect(federated.bundles.current.size).toBe(0);
    recorder.fail(false);
    await poller.refresh('partner.example');
    expect(recorder.events.at(-1)).toMatchObject({ action: 'federation.put', actor: 'control-plane', serial: '1' });
    const before = { revision: store.revision.current, bundle: federated.bundles.current };
    endpoint.answer = async () => document({ sequence: 9 });
    await poller.refresh('partner.example');
    expect(store.revision.current).toBe(before.revision);
    expect(federated.bundles.current).toBe(before.bundle);
    expect(recorder.events).toHaveLength(2);
  });

  it('a relationship that ends is gone from everywhere, and comes back as a new one', async () => {
    const { federation, federated, poller, roots } = await setUp(bench);
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    await poller.refresh('partner.example');
    const first = federated.bundles.current.get('partner.example')?.sequence ?? 0;
    await federation.delete('partner.example');
    await federated.settled();
    expect(federated.current.current).toEqual({ bundles: new Map(), services: new Map() });
    await federation.put({ trustDomain: 'partner.example', bundleEndpoint: web });
    await poller.refresh('partner.example');
    expect(roots()).toEqual(rootOf(partner));
    expect(federated.bundles.current.get('partner.example')?.sequence).toBeGreaterThan(first);
  });
});
