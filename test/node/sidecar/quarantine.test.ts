import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { Svid } from '../../../src/node/agent/svid.ts';
import { ControlPlane } from '../../../src/node/sidecar/control-plane.ts';
import { PolicyCache } from '../../../src/node/sidecar/policy-cache.ts';
import { PolicyClient } from '../../../src/node/sidecar/policy-client.ts';
import { QuarantineKeeper } from '../../../src/node/sidecar/quarantine/keeper.ts';
import { merge, nobody } from '../../../src/node/sidecar/quarantine/list.ts';
import { tempDirectory } from '../../support/temp.ts';
import { ORDERS, TestControlPlane, WEB } from '../world.ts';
import { allow } from './mesh.ts';

const OTHER = 'spiffe://example.org/ns/shop/sa/other';
const FILE = 'quarantine.list';

const open = (stateDirectory: string) => QuarantineKeeper.open({ stateDirectory, logger: silentLogger });

/** What a sidecar has between its policy stream and its disk. */
async function start(plane: TestControlPlane, stateDirectory: string) {
  const identity = new WatchSource<Svid>(plane.authority.issue(ORDERS));
  const bundle = new WatchSource(plane.authority.bundle);
  const controlPlane = new ControlPlane({ server: plane.address, identity, bundle, clock: systemClock });
  const quarantine = await open(stateDirectory);
  const client = await PolicyClient.open({
    clients: controlPlane.clients,
    cache: new PolicyCache({ stateDirectory, spiffeId: ORDERS, logger: silentLogger }),
    quarantine,
    trustDomain: 'example.org',
    inbound: () => [],
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
  return { client, quarantine: quarantine.current, close };
}

const idsOf = (watch: { readonly current: { readonly ids: ReadonlySet<string> } }) => [...watch.current.ids];

describe('the list that is in force', () => {
  it('a newer one takes the place of the one before', () => {
    const first = merge(nobody, { revision: 5, spiffeIds: [WEB, OTHER] });
    expect(merge(first, { revision: 6, spiffeIds: [OTHER] })).toEqual({ revision: 6, ids: new Set([OTHER]) });
    expect(merge(first, { revision: 5, spiffeIds: [WEB] })).toEqual({ revision: 5, ids: new Set([WEB]) });
  });

  it('an older one adds to it and releases nobody', () => {
    const current = merge(nobody, { revision: 7, spiffeIds: [WEB] });
    expect(merge(current, { revision: 5, spiffeIds: [OTHER] })).toEqual({ revision: 7, ids: new Set([WEB, OTHER]) });
    expect(merge(current, { revision: 5, spiffeIds: [] })).toEqual(current);
  });

  it('whatever order lists come in, whoever is in the newest is in force', () => {
    const list = fc.record({
      revision: fc.integer({ min: 1, max: 9 }),
      spiffeIds: fc.subarray([WEB, ORDERS, OTHER]),
    });
    fc.assert(
      fc.property(fc.array(list, { minLength: 1 }), (lists) => {
        const end = lists.reduce(merge, nobody);
        const newest = Math.max(...lists.map(({ revision }) => revision));
        const last = lists.findLast(({ revision }) => revision === newest);
        expect(end.revision).toBe(newest);
        for (const id of last?.spiffeIds ?? []) expect(end.ids).toContain(id);
      }),
    );
  });
});

describe('a sidecar', () => {
  it('has what is pushed in force, keeps it, and says so', async () => {
    const plane = await new TestControlPlane().start();
    const directory = await tempDirectory();
    const { quarantine } = await start(plane, directory);
    plane.quarantine.set({ revision: 5, spiffeIds: [WEB] });
    await plane.hear({ kind: 'quarantined', revision: 5 });
    expect(quarantine.current).toEqual({ revision: 5, ids: new Set([WEB]) });
    await expect.poll(async () => (await open(directory)).current.current).toEqual(quarantine.current);
  });

  it('hears of it when it connects, before its policies', async () => {
    const plane = await new TestControlPlane().start();
    plane.quarantine.set({ revision: 5, spiffeIds: [WEB] });
    plane.push([allow()]);
    const { client, quarantine } = await start(plane, await tempDirectory());
    const seen: number[] = [];
    client.state.subscribe(() => seen.push(quarantine.current.revision));
    await plane.hear({ kind: 'ack', revision: 2 });
    expect(seen[0]).toBe(5);
  });

  it('obeys it although the policies that come with it cannot be used', async () => {
    const plane = await new TestControlPlane().start();
    const { client, quarantine } = await start(plane, await tempDirectory());
    await plane.hear({ kind: 'ack', revision: 1 });
    plane.tamper = (content) => Buffer.concat([content, Buffer.from([0xff])]);
    plane.push([allow()]);
    await plane.hear({ kind: 'nack', revision: 2 });
    plane.quarantine.set({ revision: 5, spiffeIds: [WEB] });
    await plane.hear({ kind: 'quarantined', revision: 5 });
    expect(idsOf(quarantine)).toEqual([WEB]);
    expect(client.state.current?.revision).toBe(1);
  });

  it('knows when what its policies say changes by itself', async () => {
    const plane = await new TestControlPlane().start();
    const { client } = await start(plane, await tempDirectory());
    const notAfter = Date.UTC(2030, 0, 1);
    plane.push([{ ...allow(), validity: { notAfter } }]);
    await plane.hear({ kind: 'ack', revision: 2 });
    expect(client.state.current?.boundaries).toEqual([notAfter]);
  });

  it('that starts while the control plane is away goes on with what it had', async () => {
    const plane = await new TestControlPlane().start();
    const directory = await tempDirectory();
    const first = await start(plane, directory);
    plane.quarantine.set({ revision: 5, spiffeIds: [WEB] });
    await plane.hear({ kind: 'quarantined', revision: 5 });
    await expect.poll(async () => (await open(directory)).current.current.revision).toBe(5);
    await first.close();
    await plane.stop();
    const second = await start(plane, directory);
    expect(second.quarantine.current).toEqual({ revision: 5, ids: new Set([WEB]) });
    expect(second.client.state.current).toMatchObject({ connected: false });
  });

  it('that was away hears of a quarantine and of a release when it comes back', async () => {
    const plane = await new TestControlPlane().start();
    const directory = await tempDirectory();
    const { quarantine } = await start(plane, directory);
    plane.quarantine.set({ revision: 5, spiffeIds: [WEB] });
    await plane.hear({ kind: 'quarantined', revision: 5 });
    await plane.stop();
    plane.quarantine.set({ revision: 8, spiffeIds: [OTHER] });
    await plane.start();
    await plane.hear({ kind: 'quarantined', revision: 8 });
    expect(idsOf(quarantine)).toEqual([OTHER]);
  });

  it('that comes from a newer replica to one that is behind releases nobody, and is level when that one is', async () => {
    const plane = await new TestControlPlane().start();
    const { quarantine } = await start(plane, await tempDirectory());
    plane.quarantine.set({ revision: 8, spiffeIds: [WEB] });
    await plane.hear({ kind: 'quarantined', revision: 8 });
    await plane.stop();
    plane.heard.length = 0;
    plane.quarantine.set({ revision: 7, spiffeIds: [OTHER] });
    await plane.start();
    await plane.hear({ kind: 'quarantined', revision: 8 });
    expect(idsOf(quarantine).sort()).toEqual([OTHER, WEB]);
    plane.quarantine.set({ revision: 8, spiffeIds: [WEB] });
    await expect.poll(() => idsOf(quarantine)).toEqual([WEB]);
  });

  it('whose file is damaged lets nobody in until the control plane has sent the list again', async () => {
    const plane = await new TestControlPlane().start();
    const directory = await tempDirectory();
    const first = await start(plane, directory);
    plane.quarantine.set({ revision: 5, spiffeIds: [WEB] });
    await plane.hear({ kind: 'quarantined', revision: 5 });
    await expect.poll(async () => (await open(directory)).current.current.revision).toBe(5);
    await first.close();
    await plane.stop();
    const path = join(directory, FILE);
    await writeFile(path, (await readFile(path, 'utf8')).replace('web', 'wob'));
    const second = await start(plane, directory);
    // Calls are refused without a policy, as on the very first start.
    expect(second.client.state.current).toBeUndefined();
    plane.heard.length = 0;
    await plane.start();
    await plane.hear({ kind: 'quarantined', revision: 5 });
    expect(idsOf(second.quarantine)).toEqual([WEB]);
    await expect.poll(() => second.client.state.current?.connected).toBe(true);
  });
});

describe('the file', () => {
  it('any damage is noticed, and never read as a shorter list', async () => {
    const directory = await tempDirectory();
    const keeper = await open(directory);
    await keeper.receive({ revision: 5, spiffeIds: [WEB, OTHER] });
    const path = join(directory, FILE);
    const good = await readFile(path);
    const random = fc.sample(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })), {
      numRuns: 40,
      seed: 7,
    });
    for (const [at, flip] of random) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ flip;
      await writeFile(path, bad);
      const { damaged, current } = await open(directory);
      // A byte behind the last line end changes nothing that is read.
      expect(damaged || current.current.ids.size === 2).toBe(true);
    }
    await writeFile(path, good.subarray(0, good.length / 2));
    expect((await open(directory)).damaged).toBe(true);
  });

  it('that is not there is nobody, and no damage', async () => {
    const { damaged, current } = await open(await tempDirectory());
    expect({ damaged, size: current.current.ids.size }).toEqual({ damaged: false, size: 0 });
  });

  it('that cannot be written does not keep the list from being in force', async () => {
    const directory = join(await tempDirectory(), 'not', 'there');
    const keeper = await open(directory);
    await keeper.receive({ revision: 5, spiffeIds: [WEB] });
    expect(idsOf(keeper.current)).toEqual([WEB]);
  });
});
