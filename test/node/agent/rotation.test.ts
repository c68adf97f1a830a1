import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { inState } from '../../../src/control/authority/authorities.ts';
import { Authority } from '../../../src/control/authority/authority.ts';
import { MemoryAuthorities } from '../../../src/control/authority/authority-store.ts';
import { MemoryKeyStore } from '../../../src/control/authority/keys/key-store.ts';
import { Rotation } from '../../../src/control/authority/rotation.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { verifyPeer } from '../../../src/core/identity/chain.ts';
import { rootFingerprintOf } from '../../../src/core/identity/root-of.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import type { AgentState } from '../../../src/node/agent/identities/agent-identities.ts';
import { SvidCache } from '../../../src/node/agent/identities/svid-cache.ts';
import { makeKeyPair } from '../../../src/node/agent/identities/svid-slot.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { listRecorder } from '../../support/recorder.ts';
import { testEntry } from './test-identities.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const admin = { name: 'alice', source: '192.0.2.1' };

/** A control plane whose root is rotated, and agents that hear of it when the test says so, each in a time of its own. */
async function started(names: readonly string[]) {
  const clock = new FakeClock();
  const store = new MemoryAuthorities();
  const common = { keyStore: new MemoryKeyStore(), store, clock, logger: silentLogger };
  const authority = await Authority.open({ trustDomain: 'example.org', ...common });
  const agents = await Promise.all(names.map((name) => startAgent(name, authority, clock)));
  const followers = {
    missing: (sequence: number) =>
      agents.filter(({ connected, has }) => connected && has().sequence < sequence).map(({ name }) => name),
  };
  const rotation = new Rotation({ ...common, authority, followers: [followers], recorder: listRecorder() });
  // What is made next has a later id.
  await clock.advance(1000);
  /** Every workload calls every other, with what each has now. */
  const callAll = () => {
    for (const from of agents) {
      for (const to of agents) {
        const { chain } = from.holds();
        expect(verifyPeer(chain, to.has(), { now: clock.now() }).id.uri, `${from.name} → ${to.name}`).toBe(from.id);
      }
    }
  };
  const active = async () => inState(await store.read(), 'x509', 'active')?.name ?? '';
  return { clock, store, authority, agents, rotation, callAll, active };
}

async function startAgent(name: string, authority: Authority, wall: FakeClock) {
  const clock = new FakeClock(wall.now());
  const entry = testEntry({ spiffeId: `spiffe://example.org/${name}` });
  const stateOf = (bundle: TrustBundle): AgentState =>
    Object.freeze({ entries: new Map([[entry.id, entry]]), bundle, federated: new Map(), connected: true });
  const state = new WatchSource<AgentState | undefined>(stateOf(authority.bundle.current));
  let signed = 0;
  const cache = new SvidCache({
    state,
    sign: async ({ csr }) => {
      signed += 1;
      const { id, ...rest } = authority.issue({ id: parseSpiffeId(entry.spiffeId), instanceId: name, csr });
      return { ...rest, spiffeId: id.uri };
    },
    makeKey: makeKeyPair,
    clock,
    random: (length) => Buffer.alloc(length, 0x80),
    logger: silentLogger,
  });
  onTestFinished(() => cache.close());
  const lease = cache.lease({ entry, spiffeId: entry.spiffeId, variables: {} });
  const settled = async (before: number) => {
    while (lease.svid.version === before) await lease.svid.next(before);
  };
  await settled(0);
  let heldAt = clock.now();
  // At half life, since the lots here are all drawn from the middle.
  const toRenewal = () => clock.advance(heldAt + (holds().notAfter - heldAt) * 0.501 - clock.now());
  const has = () => state.current?.bundle ?? authority.bundle.current;
  const holds = () => {
    const svid = lease.svid.current;
    if (svid === undefined) throw new Error(`${name} has no SVID`);
    return svid;
  };
  return {
    name,
    /** Whether the control plane waits for it. */
    connected: true,
    id: entry.spiffeId,
    clock,
    lease,
    has,
    holds,
    signed: () => signed,
    root: () => rootFingerprintOf(holds().chain, has()),
    /** What the control plane says now arrives, and is acknowledged. */
    hear: () => state.set(stateOf(authority.bundle.current)),
    toRenewal,
    /** Its time for a renewal has come. */
    renew: async () => {
      const { version } = lease.svid;
      await toRenewal();
      await settled(version);
      heldAt = clock.now();
    },
  };
}

function permutations<T>(of: readonly T[]): readonly (readonly T[])[] {
  if (of.length === 0) return [[]];
  return of.flatMap((first, i) => permutations(of.toSpliced(i, 1)).map((rest) => [first, ...rest]));
}

describe('a rotation of the root', () => {
  it('makes nobody renew anything by itself: not prepared, nor activated, nor retired', async () => {
    const { agents, rotation, clock, callAll, active, store } = await started(['a', 'b', 'c']);
    const counts = () => agents.map((agent) => agent.signed());
    const { id } = await rotation.prepare('x509', admin);
    for (const agent of agents) agent.hear();
    await rotation.activate(id, admin);
    for (const agent of agents) agent.hear();
    for (const agent of agents) await agent.clock.advance(20 * minute);
    expect(counts()).toEqual([1, 1, 1]);
    callAll();

    // Each at its own time, once.
    for (const agent of agents) await agent.renew();
    expect(counts()).toEqual([2, 2, 2]);
    expect(new Set(agents.map((agent) => agent.root()))).toEqual(new Set([await active()]));

    const stop = new AbortController();
    const running = rotation.run(stop.signal);
    // Nothing is said of it to the agents' clocks: what they hold is as old as it was.
    const [old] = (await store.read()).records.filter(({ state }) => state === 'old');
    await clock.advance(old?.belowMs ?? 0);
    expect(inState(await store.read(), 'x509', 'old')).toBeUndefined();
    stop.abort();
    await clock.advance(day);
    await running;
    for (const agent of agents) {
      agent.hear();
      expect(agent.has().roots).toHaveLength(1);
    }
    for (const agent of agents) await agent.clock.advance(0);
    expect(counts()).toEqual([2, 2, 2]);
  });

  const steps = ['bundle to a', 'bundle to b', 'a renews', 'b renews'] as const;
  it.each(permutations(steps).map((order) => ({ order })))(
    'loses no handshake: $order.0, $order.1, $order.2, $order.3',
    async ({ order }) => {
      const { agents, rotation, callAll, active } = await started(['a', 'b']);
      const [a, b] = agents;
      if (a === undefined || b === undefined) throw new Error('no agents');
      const { id } = await rotation.prepare('x509', admin);
      callAll();
      const informed = new Set<string>();
      let isActive = false;
      for (const step of order) {
        const agent = step.endsWith(' a') || step.startsWith('a ') ? a : b;
        if (step.startsWith('bundle')) {
          agent.hear();
          informed.add(agent.name);
        } else await agent.renew();
        callAll();
        // Whoever is in a hurry has to wait for the last one.
        if (informed.size < agents.length) {
          await expectAppError(rotation.activate(id, admin), 'conflict', /could not verify what it signs: [ab]/);
        } else if (!isActive) {
          await rotation.activate(id, admin);
          isActive = true;
          callAll();
        }
      }
      for (const agent of [b, a]) {
        await agent.renew();
        expect(agent.root()).toBe(await active());
        callAll();
      }
    },
  );

  it('is heard of in any order when the old root leaves: everybody has renewed by then', async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const { agents, rotation, callAll, authority, store } = await started(['a', 'b']);
      const old = await inState(await store.read(), 'x509', 'active');
      const { id } = await rotation.prepare('x509', admin);
      for (const agent of agents) agent.hear();
      await rotation.activate(id, admin);
      for (const agent of agents) await agent.renew();
      await rotation.taint(old?.id ?? '', admin);
      await rotation.revoke(old?.id ?? '', admin);
      expect(authority.bundle.current.roots).toHaveLength(1);
      callAll();
      for (const at of order) {
        agents[at]?.hear();
        callAll();
      }
      expect(agents.map((agent) => agent.signed())).toEqual([2, 2]);
    }
  });

  it('leaves an agent what it has, that was away and gets a certificate before the bundle with its root', async () => {
    const { agents, rotation, clock, active } = await started(['here', 'away']);
    const [here, away] = agents;
    if (here === undefined || away === undefined) throw new Error('no agents');
    away.connected = false;
    const { id } = await rotation.prepare('x509', admin);
    here.hear();
    await rotation.activate(id, admin);
    await here.renew();
    const before = away.holds();
    await away.toRenewal();
    while (away.lease.failure() === undefined) await away.clock.advance(1);
    expect(away.lease.failure()).toMatchObject({ code: 'peer-refused' });
    expect(away.holds()).toBe(before);
    // Whoever is up to date takes it as it always did.
    expect(verifyPeer(before.chain, here.has(), { now: clock.now() }).id.uri).toBe(away.id);

    away.hear();
    const { version } = away.lease.svid;
    await away.clock.advance(minute);
    while (away.lease.svid.version === version) await away.lease.svid.next(version);
    expect(away.root()).toBe(await active());
    expect(away.lease.failure()).toBeUndefined();
  });
});
