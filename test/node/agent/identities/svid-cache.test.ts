import { randomBytes } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { WatchSource } from '../../../../src/base/watch.ts';
import type { TrustBundle } from '../../../../src/core/identity/bundle.ts';
import { fingerprint } from '../../../../src/core/identity/bundle.ts';
import { parseCsr } from '../../../../src/core/identity/csr.ts';
import { generateKeyPair } from '../../../../src/core/identity/keys.ts';
import { parseSpiffeId } from '../../../../src/core/identity/spiffe-id.ts';
import type { Grant, WorkloadEntry } from '../../../../src/core/identity/workload-entry.ts';
import { issueX509Svid } from '../../../../src/core/identity/x509-svid.ts';
import type { AgentState } from '../../../../src/node/agent/identities/agent-identities.ts';
import type { SvidCacheOptions } from '../../../../src/node/agent/identities/svid-cache.ts';
import { SvidCache } from '../../../../src/node/agent/identities/svid-cache.ts';
import type { SignItem } from '../../../../src/wire/identity-sign.ts';
import { FakeClock } from '../../../support/clock.ts';
import type { TestAuthority } from '../../../support/pki.ts';
import { createTestAuthority, randomSerial } from '../../../support/pki.ts';

const minute = 60_000;
const hour = 60 * minute;

function entryOf(id: string, change: Partial<WorkloadEntry> = {}): WorkloadEntry {
  return Object.freeze({
    id,
    revision: 1,
    spiffeId: `spiffe://example.org/w/${id}`,
    selectors: [`unix:uid:${id}`],
    namespaces: [],
    federatesWith: [],
    dnsNames: [],
    hint: '',
    expiresAt: null,
    ...change,
  });
}

const grantOf = (entry: WorkloadEntry): Grant => ({ entry, spiffeId: entry.spiffeId, variables: {} });

/** A cache over a control plane that the test holds in its hand, in a time of its own. */
function start(entries: readonly WorkloadEntry[], options: Partial<SvidCacheOptions> = {}) {
  const clock = new FakeClock();
  const world = {
    authority: createTestAuthority({ now: clock.now() }),
    signed: [] as { readonly entryId: string; readonly at: number }[],
    failure: undefined as AppError | undefined,
    /** What comes instead of what was asked for. */
    spiffeId: undefined as string | undefined,
    key: undefined as ReturnType<typeof generateKeyPair> | undefined,
    lifeMs: hour,
  };
  const stateOf = (some: readonly WorkloadEntry[], bundle: TrustBundle = world.authority.bundle): AgentState =>
    Object.freeze({ entries: new Map(some.map((e) => [e.id, e])), bundle, federated: new Map(), connected: true });
  const state = new WatchSource<AgentState | undefined>(stateOf(entries));
  const sign = async ({ entryId, csr }: SignItem) => {
    world.signed.push({ entryId, at: clock.now() });
    if (world.failure !== undefined) throw world.failure;
    return issueX509Svid(world.authority.issuer, {
      id: parseSpiffeId(world.spiffeId ?? `spiffe://example.org/w/${entryId}`),
      instanceId: 'i',
      publicKey: world.key?.publicKey ?? parseCsr(csr),
      notBefore: clock.now() - 10_000,
      notAfter: clock.now() + world.lifeMs,
      serial: randomSerial(),
    });
  };
  const cache = new SvidCache({
    state,
    sign: async (item) => {
      const { id, ...rest } = await sign(item);
      return { ...rest, spiffeId: id.uri };
    },
    clock,
    // In the middle of every interval.
    random: (length) => Buffer.alloc(length, 0x80),
    logger: silentLogger,
    makeKey: async () => generateKeyPair(),
    ...options,
  });
  onTestFinished(() => cache.close());
  const replaceAuthority = (change: Partial<TrustBundle> = {}): TestAuthority => {
    const old = world.authority;
    world.authority = createTestAuthority({ now: clock.now() });
    const roots = [...world.authority.bundle.roots, ...old.bundle.roots];
    const now = state.current;
    if (now !== undefined) state.set({ ...now, bundle: { ...world.authority.bundle, roots, ...change } });
    return old;
  };
  return { clock, world, state, stateOf, cache, replaceAuthority };
}

const one = entryOf('1');

describe('the X.509-SVID of a workload', () => {
  it('is signed on first use and renewed at half of its life, on another key, for as long as somebody wants it', async () => {
    const { cache, clock, world } = start([one]);
    expect(world.signed).toEqual([]);
    const lease = cache.lease(grantOf(one));
    await clock.advance(0);
    const first = lease.svid.current;
    expect(first?.spiffeId).toBe(one.spiffeId);
    await clock.advance(29 * minute);
    expect(lease.svid.current).toBe(first);
    await clock.advance(2 * minute);
    const second = lease.svid.current;
    expect(second).not.toBe(first);
    expect(second?.privateKey.equals(first?.privateKey ?? generateKeyPair().privateKey)).toBe(false);
    await clock.advance(3 * hour);
    expect(world.signed).toHaveLength(8);
    expect(lease.failure()).toBeUndefined();
    lease.release();
    lease.release();
    await clock.advance(3 * hour);
    expect(world.signed).toHaveLength(8);
    expect(clock.pendingTimers).toBe(0);
  });

  it('renewal is spread by a tenth of the half life, both ways', async () => {
    for (const [byte, minutes] of [
      [0x00, 27],
      [0xff, 33],
    ] as const) {
      const { cache, clock, world } = start([one], { random: (length) => Buffer.alloc(length, byte) });
      cache.lease(grantOf(one));
      await clock.advance(0);
      await clock.advance(minutes * minute - 5_000);
      expect(world.signed).toHaveLength(1);
      await clock.advance(10_000);
      expect(world.signed).toHaveLength(2);
    }
  });

  it('is kept while the control plane is away, and never used after it has expired', async () => {
    const { cache, clock, world } = start([one]);
    const lease = cache.lease(grantOf(one));
    await clock.advance(minute);
    const held = lease.svid.current;
    world.failure = new AppError('unavailable', 'away');
    await clock.advance(58 * minute);
    expect(lease.svid.current).toBe(held);
    expect(lease.failure()).toMatchObject({ code: 'unavailable', message: 'away' });
    // Not in a hurry, and not asleep.
    expect(world.signed.length).toBeGreaterThan(30);
    expect(world.signed.length).toBeLessThan(150);
    await clock.advance(2 * minute);
    expect(lease.svid.current).toBeUndefined();
    world.failure = undefined;
    await clock.advance(minute);
    expect(lease.svid.current).toBeDefined();
    expect(lease.failure()).toBeUndefined();
  });

  it('a failure wakes who waits, and is over as soon as the control plane is back', async () => {
    const { cache, clock, world, state, stateOf } = start([one]);
    world.failure = new AppError('unavailable', 'away');
    const lease = cache.lease(grantOf(one));
    let told = 0;
    lease.svid.subscribe(() => {
      told += 1;
    });
    await clock.advance(0);
    expect(told).toBe(1);
    await clock.advance(10 * minute);
    world.failure = undefined;
    state.set({ ...stateOf([one]), connected: false });
    state.set(stateOf([one]));
    await clock.advance(0);
    expect(lease.svid.current).toBeDefined();
  });

  it('who was told to come back later does not come before', async () => {
    const { cache, clock, world } = start([one]);
    world.failure = new AppError('exhausted', 'Later.', { retryAfterSeconds: 20 });
    const lease = cache.lease(grantOf(one));
    await clock.advance(0);
    // Whoever comes and goes does not make it faster.
    lease.release();
    cache.lease(grantOf(one));
    await clock.advance(19_000);
    expect(world.signed).toHaveLength(1);
    await clock.advance(1_000);
    expect(world.signed).toHaveLength(2);
  });

  it('waits for the first word of the control plane', async () => {
    const { cache, clock, world, state, stateOf } = start([one]);
    const before = state.current;
    state.set(undefined);
    const lease = cache.lease(grantOf(one));
    await clock.advance(minute);
    expect(lease.failure()).toMatchObject({ code: 'unavailable' });
    expect(world.signed).toEqual([]);
    state.set(before ?? stateOf([one]));
    await clock.advance(0);
    expect(lease.svid.current).toBeDefined();
  });

  it('is taken back when its entry goes or expires, and comes again with it', async () => {
    const { cache, clock, state, stateOf } = start([one]);
    const lease = cache.lease(grantOf(one));
    await clock.advance(0);
    state.set(stateOf([]));
    expect(lease.svid.current).toBeUndefined();
    expect(lease.failure()).toMatchObject({ code: 'not-found' });
    await clock.advance(5 * hour);
    state.set(stateOf([one]));
    await clock.advance(0);
    expect(lease.svid.current).toBeDefined();
    state.set(stateOf([entryOf('1', { expiresAt: clock.now() })]));
    expect(lease.svid.current).toBeUndefined();
  });

  it('is taken back when its entry expires while the control plane is away', async () => {
    const { cache, clock, state, stateOf, world } = start([one]);
    const lease = cache.lease(grantOf(one));
    await clock.advance(0);
    state.set({ ...stateOf([entryOf('1', { expiresAt: clock.now() + 5 * minute })]), connected: false });
    await clock.advance(4 * minute);
    expect(lease.svid.current).toBeDefined();
    await clock.advance(minute);
    expect(lease.svid.current).toBeUndefined();
    expect(lease.failure()).toMatchObject({ code: 'not-found' });
    await clock.advance(2 * hour);
    expect(world.signed).toHaveLength(1);
  });

  it('does not hold on to the message that it came in, and shares what it has in common with others', async () => {
    const [first, second] = [entryOf('1'), entryOf('2')];
    const { cache, clock } = start([first, second]);
    const leases = [first, second].map((entry) => cache.lease(grantOf(entry)));
    await clock.advance(0);
    const chains = leases.map((lease) => lease.svid.current?.chain ?? []);
    for (const der of chains.flat()) expect(der.buffer.byteLength).toBe(der.length);
    expect(chains[0]?.[1]).toBe(chains[1]?.[1]);
    expect(chains[0]?.[0]?.equals(chains[1]?.[0] ?? Buffer.alloc(0))).toBe(false);
  });

  it('one that was signed while its entry went is not used', async () => {
    const { cache, clock, state, stateOf, world } = start([one], {
      makeKey: async () => {
        state.set(stateOf([]));
        return generateKeyPair();
      },
    });
    const lease = cache.lease(grantOf(one));
    const seen: unknown[] = [];
    lease.svid.subscribe((held) => seen.push(held));
    await clock.advance(0);
    expect(world.signed).toHaveLength(1);
    expect(seen.length).toBeGreaterThan(0);
    // Not even for a moment.
    expect(seen.every((held) => held === undefined)).toBe(true);
  });

  it('is signed anew when its entry gives it other DNS names, and not for what does not stand in it', async () => {
    const { cache, clock, state, stateOf, world } = start([one]);
    cache.lease(grantOf(one));
    await clock.advance(0);
    state.set(stateOf([entryOf('1', { revision: 2, hint: 'h', selectors: ['x:y'] })]));
    await clock.advance(0);
    expect(world.signed).toHaveLength(1);
    state.set(stateOf([entryOf('1', { revision: 3, dnsNames: ['web.example'] })]));
    await clock.advance(0);
    expect(world.signed).toHaveLength(2);
  });
});

describe('what the control plane sends', () => {
  it('is not used when it is for somebody else, for another key, or below another root', async () => {
    const { cache, clock, world, state, stateOf } = start([one]);
    const lease = cache.lease(grantOf(one));
    const refused = async () => {
      await clock.advance(minute);
      expect(lease.svid.current).toBeUndefined();
      const code = lease.failure()?.code;
      return `${code}: ${lease.failure()?.message}`;
    };
    world.spiffeId = 'spiffe://example.org/w/2';
    expect(await refused()).toMatch(/^peer-refused: A certificate for spiffe:\/\/example.org\/w\/2 came instead/);
    world.spiffeId = undefined;
    world.key = generateKeyPair();
    expect(await refused()).toMatch(/^peer-refused: The certificate is for another key/);
    world.key = undefined;
    const { authority } = world;
    state.set(stateOf([one], createTestAuthority({ now: clock.now() }).bundle));
    expect(await refused()).toMatch(/^peer-refused: .*does not lead to a root/);
    state.set(stateOf([one], authority.bundle));
    await clock.advance(minute);
    expect(lease.svid.current).toBeDefined();
  });
});

describe('a root', () => {
  it('that another one follows makes nobody ask for anything', async () => {
    const { cache, clock, world, replaceAuthority } = start([one]);
    cache.lease(grantOf(one));
    await clock.advance(minute);
    replaceAuthority();
    await clock.advance(minute);
    expect(world.signed).toHaveLength(1);
  });

  it('that is tainted: every SVID below it is replaced soon, each at a moment of its own', async () => {
    const entries = Array.from({ length: 200 }, (_, i) => entryOf(String(i)));
    const { cache, clock, world, replaceAuthority } = start(entries, { random: randomBytes, rekeySpreadMs: 10_000 });
    const leases = entries.map((entry) => cache.lease(grantOf(entry)));
    await clock.advance(0);
    const before = leases.map((lease) => lease.svid.current);
    const old = world.authority;
    const tainted = [fingerprint(old.bundle.roots[0] ?? Buffer.alloc(0))];
    replaceAuthority({ tainted });
    const from = clock.now();
    world.signed.length = 0;
    await clock.advance(10_000);
    expect(world.signed).toHaveLength(200);
    expect(leases.every((lease, i) => lease.svid.current !== before[i] && lease.svid.current !== undefined)).toBe(true);
    // Ten seconds in ten parts: no part has more than a quarter.
    const parts = Array.from({ length: 10 }, (_, part) =>
      world.signed.filter(({ at }) => Math.min(9, Math.floor((at - from) / 1000)) === part),
    );
    expect(Math.max(...parts.map((part) => part.length))).toBeLessThan(50);
    // Those below the new root stay.
    await clock.advance(10 * minute);
    expect(world.signed).toHaveLength(200);
  });

  it('that is tainted: other changes of the bundle meanwhile put nothing off', async () => {
    const { cache, clock, world, state, replaceAuthority } = start([one], { rekeySpreadMs: 10_000 });
    cache.lease(grantOf(one));
    await clock.advance(0);
    replaceAuthority({ tainted: [fingerprint(world.authority.bundle.roots[0] ?? Buffer.alloc(0))] });
    for (let i = 0; i < 6; i += 1) {
      await clock.advance(1_000);
      const now = state.current;
      if (now !== undefined) state.set({ ...now, bundle: { ...now.bundle, sequence: i } });
    }
    // The lot is in the middle: after five seconds.
    await clock.advance(0);
    expect(world.signed).toHaveLength(2);
  });

  it('that is tainted and signs nevertheless is not asked without end', async () => {
    const { cache, clock, world, state } = start([one], { rekeySpreadMs: 10_000 });
    cache.lease(grantOf(one));
    await clock.advance(0);
    const now = state.current;
    const tainted = [fingerprint(world.authority.bundle.roots[0] ?? Buffer.alloc(0))];
    if (now !== undefined) state.set({ ...now, bundle: { ...now.bundle, tainted } });
    await clock.advance(minute);
    expect(world.signed.length).toBeGreaterThan(1);
    expect(world.signed.length).toBeLessThan(8);
  });

  it('that has left the bundle: what is below it is replaced at once', async () => {
    const { cache, clock, world, state, stateOf } = start([one]);
    const lease = cache.lease(grantOf(one));
    await clock.advance(0);
    const before = lease.svid.current;
    world.authority = createTestAuthority({ now: clock.now() });
    state.set(stateOf([one]));
    await clock.advance(0);
    expect(lease.svid.current).not.toBe(before);
    expect(world.signed).toHaveLength(2);
  });
});

describe('SVIDs that nobody holds', () => {
  it('are kept warm, the latest of them, and renewed when they are wanted again past their half life', async () => {
    const entries = [entryOf('1'), entryOf('2'), entryOf('3')];
    const { cache, clock, world } = start(entries, { maxWarm: 2 });
    const leases = entries.map((entry) => cache.lease(grantOf(entry)));
    await clock.advance(0);
    const held = leases.map((lease) => lease.svid.current);
    for (const lease of leases) lease.release();
    expect(cache.size).toEqual({ leased: 0, warm: 2 });
    await clock.advance(40 * minute);
    expect(world.signed).toHaveLength(3);

    const third = cache.lease(grantOf(entryOf('3')));
    // At once, and a newer one in a moment.
    expect(third.svid.current).toBe(held[2]);
    await clock.advance(0);
    expect(third.svid.current).not.toBe(held[2]);
    expect(cache.lease(grantOf(entryOf('1'))).svid.current).toBeUndefined();
    await clock.advance(30 * minute);
    expect(cache.lease(grantOf(entryOf('2'))).svid.current).toBeUndefined();
  });
});
