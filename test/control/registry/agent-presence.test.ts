import { expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { EntryIndex } from '../../../src/control/authority/entries/entry-index.ts';
import { Nodes } from '../../../src/control/authority/nodes/nodes.ts';
import { AgentViews } from '../../../src/control/registry/agent-views.ts';
import { Agents } from '../../../src/control/registry/agents.ts';
import type { StoreOptions } from '../../../src/control/store/store.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { listRecorder } from '../../support/recorder.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';

const own = createTestAuthority().bundle;
const idOf = (name: string) => `spiffe://example.org/writ/agent/t/${name}`;
const nameOf = (name: string) => `${idOf(name)} (instance ${name})`;
const hour = 3_600_000;
const write = { actor: 'admin' };

/** A control plane, as far as agents are concerned. Time passes in steps of ten seconds, each with one look at the store. */
async function replica(stores: StoreBench, database: StoreOptions, clock: FakeClock) {
  const store = await stores.open(database);
  const nodes = await Nodes.open({ store, recorder: listRecorder(), clock, logger: silentLogger });
  onTestFinished(() => nodes.close());
  const views = new AgentViews({
    trustDomain: 'example.org',
    entries: new WatchSource(new EntryIndex().snapshot(0, 'all')),
  });
  const bundle = new WatchSource<TrustBundle>(own);
  let isAway = false;
  const port = {
    agentSelectors: (instanceId: string) => nodes.agentSelectors(instanceId),
    watch: (instanceId: string, fn: () => void) => nodes.watch(instanceId, fn),
    acknowledged: (instanceId: string, sequence: number) => nodes.acknowledged(instanceId, sequence),
    isBarred: (instanceId: string) => nodes.isBarred(instanceId),
    async agentSightings() {
      if (isAway) throw new AppError('unavailable', 'The database is away.');
      return await nodes.agentSightings();
    },
    async seen(instanceIds: readonly string[]) {
      if (isAway) throw new AppError('unavailable', 'The database is away.');
      writes.push(instanceIds);
      await nodes.seen(instanceIds);
    },
  };
  const writes: (readonly string[])[] = [];
  const agents = new Agents({ views, bundle, nodes: port, clock, logger: silentLogger });
  onTestFinished(() => agents.close());
  return {
    nodes,
    agents,
    bundle,
    writes,
    /** Whether its database is away. */
    cutOff(value: boolean) {
      isAway = value;
    },
    connect(name: string) {
      return agents.connect({ instanceId: name, spiffeId: idOf(name), version: 'v', time: clock.now() });
    },
    async admit(name: string) {
      await nodes.admit({
        instanceId: name,
        spiffeId: idOf(name),
        kind: 'agent',
        method: 't',
        subject: `t:${name}`,
        entryId: null,
        selectors: [],
        canReattest: false,
        serial: 'a0',
        expiresAt: clock.now() + 24 * hour,
      });
    },
  };
}

async function twoReplicas(stores: StoreBench, skewMs = 0) {
  const database = await stores.database();
  const clocks = [new FakeClock(), new FakeClock()] as const;
  await clocks[1].advance(skewMs);
  const one = await replica(stores, database, clocks[0]);
  const two = await replica(stores, database, clocks[1]);
  /** As each replica does by itself every ten seconds; here one after the other, so that nothing depends on chance. */
  const pass = async (seconds: number, replicas = [one, two]) => {
    for (let at = 0; at < seconds; at += 10) {
      for (const clock of clocks) await clock.advance(10_000);
      for (const each of replicas) await each.agents.tick();
    }
  };
  return { one, two, clocks, pass };
}

/** Until what was begun without being waited for is stored. */
async function settled(isSo: () => boolean | Promise<boolean>): Promise<void> {
  await expect.poll(isSo, { timeout: 10_000, interval: 5 }).toBe(true);
}

describeEachStore('Agents of two replicas', (stores) => {
  it('are missing for both until they acknowledge, wherever they are connected', async () => {
    const { one, two } = await twoReplicas(stores);
    await one.agents.tick();
    await two.admit('a');
    const a = two.connect('a');
    await settled(() => two.writes.length > 0);
    await one.agents.refresh();
    expect(one.agents.missing(2)).toEqual([nameOf('a')]);
    expect(two.agents.missing(2)).toEqual([nameOf('a')]);
    two.bundle.set({ ...own, sequence: 2 });
    a.acknowledged(a.content.current);
    expect(two.agents.missing(2)).toEqual([]);
    await settled(async () => (await two.nodes.get('a')).bundleSequence === 2);
    await one.agents.refresh();
    expect(one.agents.missing(2)).toEqual([]);
    expect(one.agents.missing(3)).toEqual([nameOf('a')]);
  });

  it('count for as long as their stream is open, however little they say, and are stored once a minute', async () => {
    const { one, two, pass } = await twoReplicas(stores);
    await two.admit('a');
    await two.admit('b');
    two.connect('a');
    two.connect('b');
    await settled(() => two.writes.flat().length === 2);
    const before = two.writes.length;
    await pass(600);
    expect(one.agents.missing(2)).toEqual([nameOf('a'), nameOf('b')]);
    expect(two.writes.length - before).toBe(10);
    expect(two.writes.at(-1)?.toSorted()).toEqual(['a', 'b']);
  });

  it('do not count when no replica has seen them for two minutes', async () => {
    const { one, two, pass } = await twoReplicas(stores);
    await two.admit('a');
    const a = two.connect('a');
    await settled(() => two.writes.length > 0);
    await pass(60);
    a.close();
    await pass(50);
    expect(one.agents.missing(2)).toEqual([nameOf('a')]);
    expect(two.agents.missing(2)).toEqual([nameOf('a')]);
    await pass(80);
    expect(one.agents.missing(2)).toEqual([]);
    expect(two.agents.missing(2)).toEqual([]);
  });

  it('that move to another replica count there', async () => {
    const { one, two, pass } = await twoReplicas(stores);
    await two.admit('a');
    await pass(10);
    const before = two.connect('a');
    await settled(() => two.writes.flat().includes('a'));
    before.close();
    await one.nodes.check({ id: parseSpiffeId(idOf('a')), instanceId: 'a', serial: 'a0' });
    const after = one.connect('a');
    await pass(300);
    expect(two.agents.missing(2)).toEqual([nameOf('a')]);
    one.bundle.set({ ...own, sequence: 2 });
    after.acknowledged(after.content.current);
    await settled(async () => (await one.nodes.get('a')).bundleSequence === 2);
    await pass(10);
    expect(two.agents.missing(2)).toEqual([]);
  });

  it('do not count once they are banned or evicted, on the replica that does it at once', async () => {
    const { one, two, pass } = await twoReplicas(stores);
    for (const name of ['a', 'b']) {
      await two.admit(name);
      two.connect(name);
    }
    await settled(() => two.writes.flat().length >= 2);
    await pass(10);
    expect(one.agents.missing(2)).toEqual([nameOf('a'), nameOf('b')]);
    await one.nodes.ban('a', write);
    expect(one.agents.missing(2)).toEqual([nameOf('b')]);
    await one.nodes.evict('b', write);
    expect(one.agents.missing(2)).toEqual([]);
    // The gate ends their streams there; here nobody does.
    await settled(() => two.agents.missing(2).length === 0);
  });

  it('count whatever the clocks of the replicas say', async () => {
    const { one, two, pass } = await twoReplicas(stores, 5 * 60_000);
    await one.admit('a');
    await two.admit('b');
    one.connect('a');
    two.connect('b');
    await pass(300);
    expect(one.agents.missing(2)).toEqual([nameOf('a'), nameOf('b')]);
    expect(two.agents.missing(2)).toEqual([nameOf('a'), nameOf('b')]);
  });

  it('count for a replica that has just started, until it has watched for two minutes; those long gone do not', async () => {
    const { one, two, pass, clocks } = await twoReplicas(stores);
    await two.admit('gone');
    await clocks[0].advance(hour);
    await clocks[1].advance(hour);
    await two.admit('a');
    await pass(10, [one]);
    expect(one.agents.missing(2)).toEqual([nameOf('a')]);
    await pass(120, [one]);
    expect(one.agents.missing(2)).toEqual([]);
  });

  it('do not leave because the database was away', async () => {
    const { one, two, pass } = await twoReplicas(stores);
    await two.admit('a');
    two.connect('a');
    await settled(() => two.writes.length > 0);
    await pass(60);
    for (const each of [one, two]) each.cutOff(true);
    await pass(600);
    expect(one.agents.missing(2)).toEqual([nameOf('a')]);
    await expectAppError(one.agents.refresh(), 'unavailable');
    for (const each of [one, two]) each.cutOff(false);
    // Before the other replica has stored anything.
    await one.agents.refresh();
    expect(one.agents.missing(2)).toEqual([nameOf('a')]);
    await pass(300);
    expect(one.agents.missing(2)).toEqual([nameOf('a')]);
  });
});
