import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { decide } from '../../../src/core/policy/decide.ts';
import type { Svid } from '../../../src/node/agent/svid.ts';
import { ControlPlane } from '../../../src/node/sidecar/control-plane.ts';
import { PolicyCache } from '../../../src/node/sidecar/policy-cache.ts';
import { PolicyClient } from '../../../src/node/sidecar/policy-client.ts';
import type { PolicyState } from '../../../src/node/sidecar/policy-state.ts';
import { QuarantineKeeper } from '../../../src/node/sidecar/quarantine/keeper.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { tempDirectory } from '../../support/temp.ts';
import { ORDERS, TestControlPlane, WEB } from '../world.ts';
import { allow } from './mesh.ts';

async function start(plane: TestControlPlane, stateDirectory: string) {
  const identity = new WatchSource<Svid>(plane.authority.issue(ORDERS));
  const bundle = new WatchSource(plane.authority.bundle);
  const controlPlane = new ControlPlane({ server: plane.address, identity, bundle, clock: systemClock });
  const cache = new PolicyCache({ stateDirectory, spiffeId: ORDERS, logger: silentLogger });
  const quarantine = await QuarantineKeeper.open({ stateDirectory, logger: silentLogger });
  const client = await PolicyClient.open({
    clients: controlPlane.clients,
    cache,
    quarantine,
    trustDomain: 'example.org',
    inbound: () => [{ address: '10.0.0.1:15006', protocol: 'http', applicationPort: 8080 }],
    version: 'test',
    clock: systemClock,
    logger: silentLogger,
  });
  const stop = new AbortController();
  const running = client.run(stop.signal);
  let stopped: Promise<void> | undefined;
  const close = () => {
    stopped ??= (async () => {
      stop.abort();
      await running;
      controlPlane.close();
    })();
    return stopped;
  };
  onTestFinished(close);
  const until = async (wanted: (state: PolicyState) => boolean): Promise<PolicyState> => {
    const { state } = client;
    let seen = state.version;
    for (;;) {
      const { current } = state;
      if (current !== undefined && wanted(current)) return current;
      seen = (await state.next(seen)).version;
    }
  };
  return { client, identity, cache, quarantine, close, until };
}

const call = { source: WEB, port: 8080, http: { method: 'GET', path: '/' } };

test('what is pushed is in force, stored, and acknowledged', async () => {
  const plane = await new TestControlPlane().start();
  plane.push([allow()]);
  const { cache, until } = await start(plane, await tempDirectory());
  const state = await until((each) => each.revision === 2);
  expect(decide(state.compiled, call).decision).toBe('allow');
  expect(state).toMatchObject({ connected: true, bundle: { trustDomain: 'example.org' } });
  await plane.hear({ kind: 'ack', revision: 2 });
  expect((await cache.load())?.revision).toBe(2);
  expect(plane.endpoints.get(ORDERS)).toEqual([{ address: '10.0.0.1:15006', protocol: 'http', applicationPort: 8080 }]);

  plane.push([]);
  const next = await until((each) => each.revision === 3);
  expect(decide(next.compiled, call).decision).toBe('deny');
  // The same bundle is the same value, so that nobody who watches it starts over.
  expect(next.bundle).toBe(state.bundle);
});

test('what cannot be used is refused whole, and the last good policy stays', async () => {
  const plane = await new TestControlPlane().start();
  plane.push([allow()]);
  const { client, until } = await start(plane, await tempDirectory());
  await until((each) => each.revision === 2);
  plane.tamper = (content) => Buffer.concat([content, Buffer.from([0xff, 0xff])]);
  plane.push([]);
  const nack = await plane.hear({ kind: 'nack', revision: 3 });
  expect(nack.error).toBe('content is not a SnapshotContent message.');
  expect(client.state.current?.revision).toBe(2);
  plane.tamper = (content) => content;
  plane.push([]);
  await until((each) => each.revision === 4);
});

test('a snapshot with the bundle of another trust domain is refused', async () => {
  const plane = await new TestControlPlane().start();
  const { client } = await start(plane, await tempDirectory());
  await plane.hear({ kind: 'ack', revision: 1 });
  const other = new TestControlPlane(createTestAuthority({ trustDomain: 'elsewhere.org' }));
  plane.tamper = () => other.published.current.for('', {}).content;
  plane.push();
  expect((await plane.hear({ kind: 'nack' })).error).toMatch(/elsewhere\.org/);
  expect(client.state.current?.bundle.trustDomain).toBe('example.org');
});

test('a restart without a control plane goes on with the stored policy, and says how old it is', async () => {
  const plane = await new TestControlPlane().start();
  plane.push([allow()]);
  const directory = await tempDirectory();
  const first = await start(plane, directory);
  await plane.hear({ kind: 'ack', revision: 2 });
  await first.close();
  await plane.stop();

  const before = Date.now();
  const { client, until } = await start(plane, directory);
  const state = client.state.current;
  expect(state).toMatchObject({ revision: 2, connected: false });
  expect(state?.receivedAt).toBeLessThanOrEqual(before);
  expect(state === undefined ? '' : decide(state.compiled, call).decision).toBe('allow');

  await plane.start();
  expect(await until((each) => each.connected)).toMatchObject({ revision: 2 });
});

test('a stored policy that was changed, or is for somebody else, is not used', async () => {
  const plane = await new TestControlPlane().start();
  const directory = await tempDirectory();
  const first = await start(plane, directory);
  await plane.hear({ kind: 'ack' });
  await first.close();
  await plane.stop();
  const path = join(directory, 'policy.snapshot');
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.replace('"revision":1', '"revision":9'));
  expect((await start(plane, directory)).client.state.current).toBeUndefined();
  await writeFile(path, text);
  expect((await start(plane, directory)).client.state.current?.revision).toBe(1);
  const foreign = new PolicyCache({ stateDirectory: directory, spiffeId: WEB, logger: silentLogger });
  expect(await foreign.load()).toBeUndefined();
});

test('a control plane that went away comes back without the policy being sent again', async () => {
  const plane = await new TestControlPlane().start();
  plane.push([allow()]);
  const { until } = await start(plane, await tempDirectory());
  const before = await until((each) => each.revision === 2);
  await plane.stop();
  const away = await until((each) => !each.connected);
  expect(away.compiled).toBe(before.compiled);
  await plane.start();
  const back = await until((each) => each.connected);
  expect(back.compiled).toBe(before.compiled);
});

test('a new certificate moves the stream over, without the policy being sent again', async () => {
  const plane = await new TestControlPlane().start();
  plane.push([allow()]);
  const { identity, client, until } = await start(plane, await tempDirectory());
  const before = await until((each) => each.revision === 2);
  identity.set(plane.authority.issue(ORDERS));
  await expect.poll(() => plane.heard.filter((each) => each.kind === 'connect').length).toBe(2);
  await until((each) => each.connected);
  expect(client.state.current?.compiled).toBe(before.compiled);
});

test('goodbye is heard', async () => {
  const plane = await new TestControlPlane().start();
  const { client } = await start(plane, await tempDirectory());
  await plane.hear({ kind: 'ack' });
  await client.goodbye();
  await plane.hear({ kind: 'goodbye' });
});

test('a server that is not the control plane is not listened to', async () => {
  const plane = new TestControlPlane();
  plane.identity.set(plane.authority.issue(WEB));
  await plane.start();
  plane.push([allow()]);
  const { client } = await start(plane, await tempDirectory());
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(plane.heard).toEqual([]);
  expect(client.state.current).toBeUndefined();
});

test('bundles of other trust domains are in force, the same value while they say the same, and kept over a restart', async () => {
  const partner = createTestAuthority({ trustDomain: 'partner.example' });
  const plane = await new TestControlPlane().start();
  plane.federated = [partner.bundle];
  plane.services.push({
    name: 'orders',
    namespace: 'shop',
    spiffeId: 'spiffe://partner.example/ns/shop/sa/orders',
    endpoints: [{ address: '10.0.0.9:15006', protocol: 'http' }],
  });
  plane.push([allow()]);
  const stateDirectory = await tempDirectory();
  const first = await start(plane, stateDirectory);
  const state = await first.until((each) => each.revision === 2);
  expect(state.federated.map((bundle) => bundle.trustDomain)).toEqual(['partner.example']);
  expect([...state.services.keys()]).toEqual(['orders.shop.partner.example']);
  plane.push([]);
  expect((await first.until((each) => each.revision === 3)).federated).toBe(state.federated);
  await plane.hear({ kind: 'ack', revision: 3 });
  await first.close();
  await plane.stop();
  const again = await start(plane, stateDirectory);
  expect(again.client.state.current?.federated).toEqual(state.federated);
});

test('a second bundle of one trust domain, or one of our own among the others, is refused', async () => {
  const partner = createTestAuthority({ trustDomain: 'partner.example' });
  const plane = await new TestControlPlane().start();
  plane.push([allow()]);
  const { until, client } = await start(plane, await tempDirectory());
  await until((each) => each.revision === 2);
  plane.federated = [createTestAuthority({ trustDomain: 'example.org' }).bundle];
  plane.push([]);
  expect(await plane.hear({ kind: 'nack', revision: 3 })).toMatchObject({
    error: 'There are two bundles of example.org.',
  });
  plane.federated = [partner.bundle, { ...partner.bundle, sequence: 2 }];
  plane.push([]);
  expect(await plane.hear({ kind: 'nack', revision: 4 })).toMatchObject({
    error: 'There are two bundles of partner.example.',
  });
  expect(client.state.current?.revision).toBe(2);
});
