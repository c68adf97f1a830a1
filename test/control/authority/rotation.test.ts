import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import type { AuthorityKind } from '../../../src/control/authority/authorities.ts';
import { authorityKinds, withoutRecords } from '../../../src/control/authority/authorities.ts';
import type { AuthorityStore } from '../../../src/control/authority/authority-store.ts';
import { MemoryAuthorities } from '../../../src/control/authority/authority-store.ts';
import { MemoryKeyStore } from '../../../src/control/authority/keys/key-store.ts';
import { fingerprint } from '../../../src/core/identity/bundle.ts';
import { verifyPeer } from '../../../src/core/identity/chain.ts';
import { verifyJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { verifyWitSvid } from '../../../src/core/identity/wit-svid.ts';
import { expectAppError } from '../../support/errors.ts';
import type { AuthorityWorld, Replica } from './authorities-world.ts';
import { admin, authorityWorld, csr, day, hour, run, theOne, web } from './authorities-world.ts';

const issue = ({ authority }: Replica) => authority.issue({ id: web, instanceId: 'i-1', csr });
const rootOf = (replica: Replica, chain: readonly Buffer[]) => {
  const last = new X509Certificate(chain.at(-1) ?? '');
  const root = replica.authority.bundle.current.roots.find((der) => last.checkIssued(new X509Certificate(der)));
  return root === undefined ? undefined : fingerprint(root);
};

/** What holds at every moment: everything that is signed, and what the listener shows, verifies with the bundle. */
async function checkAll(replica: Replica, now: number): Promise<void> {
  const { authority } = replica;
  const bundle = authority.bundle.current;
  expect(verifyPeer(issue(replica).chain, bundle, { now }).id).toEqual(web);
  expect(verifyPeer(authority.serverIdentity.current.chain, bundle, { now }).id.path).toBe('/writ/control-plane');
  const jwt = await authority.signJwt({ id: web, audience: ['a'] });
  expect((await verifyJwtSvid(jwt.token, { audiences: ['a'], bundle, now })).id).toEqual(web);
  const wit = await authority.signWit({ id: web, publicKey: generateKeyPair().publicKey });
  expect((await verifyWitSvid(wit.token, { bundle, now })).id).toEqual(web);
}

async function rotated(world: AuthorityWorld, replica: Replica, kind: AuthorityKind = 'x509'): Promise<void> {
  const { id } = await replica.rotation.prepare(kind, admin);
  await replica.rotation.activate(id, admin);
  await checkAll(replica, world.clock.now());
}

describe.each(authorityKinds)('an authority of kind %s', (kind) => {
  it('spiffe 47: goes from prepared to active to old by hand, and is in the bundle all the while', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    const first = await theOne(world, kind, 'active');
    const before = replica.authority.bundle.current;
    const prepared = await replica.rotation.prepare(kind, admin);
    const shown = replica.authority.bundle.current;
    expect(prepared).toMatchObject({ kind, state: 'prepared', missing: [], sequence: shown.sequence });
    expect(shown.sequence).toBeGreaterThan(before.sequence);
    expect(shown.roots.length + shown.jwks.keys.length).toBe(before.roots.length + before.jwks.keys.length + 1);
    await checkAll(replica, world.clock.now());

    expect(await replica.rotation.activate(prepared.id, admin)).toMatchObject({ id: prepared.id, state: 'active' });
    expect(await world.inState(kind, 'old')).toMatchObject([{ id: first }]);
    // Nothing that anybody has to be told: nobody replaces anything because of it.
    expect(replica.authority.bundle.current).toEqual(shown);
    await checkAll(replica, world.clock.now());
  });

  it('S17: cannot be activated unless it is prepared', async () => {
    const world = authorityWorld();
    const { rotation } = await world.replica();
    const active = await theOne(world, kind, 'active');
    await expectAppError(rotation.activate(active, admin), 'conflict', /is active, and only what is prepared can be/);
    await expectAppError(rotation.activate('nobody', admin), 'not-found', 'There is no authority nobody.');
    const { id } = await rotation.prepare(kind, admin);
    await rotation.activate(id, admin);
    await expectAppError(rotation.activate(active, admin), 'conflict', /is old, and only what is prepared/);
  });

  it('S17: cannot be tainted or revoked while it is active or prepared', async () => {
    const world = authorityWorld();
    const { rotation } = await world.replica();
    const active = await theOne(world, kind, 'active');
    const { id } = await rotation.prepare(kind, admin);
    await expectAppError(rotation.taint(active, admin), 'conflict', /is active, and only what is old.*Rotate first/s);
    await expectAppError(rotation.revoke(active, admin), 'conflict', /is active, and only what is tainted/);
    await expectAppError(rotation.taint(id, admin), 'conflict', /is prepared, and only what is old/);
    await expectAppError(rotation.revoke(id, admin), 'conflict', /is prepared, and only what is tainted/);
    expect(await world.states(kind)).toEqual(['active', 'prepared']);
  });

  it('is tainted when it is old, stays trusted, and is gone with its key when it is revoked', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    const [first] = await world.inState(kind, 'active');
    if (first === undefined) throw new Error('none');
    await rotated(world, replica, kind);
    await expectAppError(replica.rotation.revoke(first.id, admin), 'conflict', /is old.*Taint it first/s);
    const before = replica.authority.bundle.current;
    await replica.rotation.taint(first.id, admin);
    const tainted = replica.authority.bundle.current;
    expect(tainted.tainted).toEqual([first.name]);
    expect(tainted.sequence).toBeGreaterThan(before.sequence);
    expect([tainted.roots, tainted.jwks]).toEqual([before.roots, before.jwks]);
    await checkAll(replica, world.clock.now());

    await replica.rotation.revoke(first.id, admin);
    const after = replica.authority.bundle.current;
    expect(after.tainted).toBeUndefined();
    expect(after.sequence).toBeGreaterThan(tainted.sequence);
    expect(JSON.stringify(after)).not.toContain(first.name);
    expect(await world.keyStore.names()).not.toContain(first.keyName);
    expect(await world.states(kind)).toEqual(['active']);
    await checkAll(replica, world.clock.now());
    await expectAppError(replica.rotation.revoke(first.id, admin), 'not-found');
  });

  it('is not prepared twice', async () => {
    const world = authorityWorld();
    const { rotation } = await world.replica();
    const { id } = await rotation.prepare(kind, admin);
    const keys = await world.keyStore.names();
    await expectAppError(rotation.prepare(kind, admin), 'conflict', new RegExp(`${id} is prepared already`));
    expect(await world.keyStore.names()).toEqual(keys);
  });

  it('is not activated while somebody could not verify what it signs, and it is said who', async () => {
    const world = authorityWorld();
    const { rotation } = await world.replica();
    const { id, sequence } = await rotation.prepare(kind, admin);
    world.followers.behind = ['spiffe://example.org/ns/shop/sa/web (instance 1)'];
    await expectAppError(
      rotation.activate(id, admin),
      'conflict',
      /^1 connected follower has not acknowledged.*spiffe:\/\/example.org\/ns\/shop\/sa\/web \(instance 1\)\. Wait/s,
    );
    expect(world.followers.asked.at(-1)).toBe(sequence);
    expect((await rotation.list()).items.at(-1)).toMatchObject({
      id,
      state: 'prepared',
      missing: world.followers.behind,
    });
    world.followers.behind = Array.from({ length: 25 }, (_, i) => `n-${i}`);
    await expectAppError(rotation.activate(id, admin), 'conflict', /^25 connected followers have.*n-19 and 5 more\./s);
    expect(await world.states(kind)).toEqual(['active', 'prepared']);
    world.followers.behind = [];
    await rotation.activate(id, admin);
  });

  it('is not activated while another replica knows of somebody who could not, nor while nobody can be asked', async () => {
    const world = authorityWorld();
    const { rotation } = await world.replica();
    const { id } = await rotation.prepare(kind, admin);
    world.followers.elsewhere = ['an agent elsewhere'];
    await expectAppError(rotation.activate(id, admin), 'conflict', /an agent elsewhere/);
    expect((await rotation.list()).items.at(-1)?.missing).toEqual(['an agent elsewhere']);
    world.followers.elsewhere = new AppError('unavailable', 'The database is away.');
    await expectAppError(rotation.activate(id, admin), 'unavailable');
    world.followers.elsewhere = [];
    world.followers.behind = [];
    await rotation.rotate(kind, admin);
    world.followers.elsewhere = ['an agent elsewhere'];
    await rotation.tick();
    expect(await world.states(kind)).toEqual(['active', 'prepared']);
    // What was known before still counts when nobody can be asked, and nothing else stops.
    world.followers.elsewhere = new AppError('unavailable', 'The database is away.');
    await rotation.tick();
    expect(await world.states(kind)).toEqual(['active', 'prepared']);
    world.followers.elsewhere = [];
    world.followers.behind = [];
    await rotation.tick();
    expect(await world.states(kind)).toEqual(['old', 'active']);
  });

  it('is rotated on schedule: another is prepared with a sixth of the life left, shown for a while, then used', async () => {
    const world = authorityWorld();
    const replica = await world.replica({ lifetimes: { rootSeconds: 20 * 86_400 } });
    run(replica);
    const [first] = await world.inState(kind, 'active');
    if (first === undefined) throw new Error('none');
    const lifeMs = first.notAfter - first.notBefore;
    await world.clock.advance(lifeMs - lifeMs / 6 - world.clock.now() + first.notBefore - 2 * 60_000);
    expect(await world.states(kind)).toEqual(['active']);
    await world.clock.advance(3 * 60_000);
    expect(await world.states(kind)).toEqual(['active', 'prepared']);
    // Five times the refresh hint: whoever polls the bundle has seen it by then.
    await world.clock.advance(23 * 60_000);
    expect(await world.states(kind)).toEqual(['active', 'prepared']);
    await world.clock.advance(3 * 60_000);
    expect(await world.states(kind)).toEqual(['old', 'active']);
    await checkAll(replica, world.clock.now());
    const endsAfter = first.belowMs;
    await world.clock.advance(endsAfter - 3 * 60_000);
    expect(await world.states(kind)).toEqual(['old', 'active']);
    await checkAll(replica, world.clock.now());
    await world.clock.advance(2 * 60_000);
    expect(await world.states(kind)).toEqual(['active']);
    expect(await world.keyStore.names()).not.toContain(first.keyName);
    await checkAll(replica, world.clock.now());
  });

  it('that was prepared by hand waits for the calendar or for a hand', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    run(replica);
    await replica.rotation.prepare(kind, admin);
    await world.clock.advance(day);
    expect(await world.states(kind)).toEqual(['active', 'prepared']);
  });

  it('is rotated at once when asked for, as soon as everybody can verify it', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    run(replica);
    world.followers.behind = ['somebody'];
    const { id } = await replica.rotation.rotate(kind, admin);
    // Asking again is the same wish.
    expect((await replica.rotation.rotate(kind, admin)).id).toBe(id);
    await world.clock.advance(hour);
    expect(await world.states(kind)).toEqual(['active', 'prepared']);
    world.followers.behind = [];
    await world.clock.advance(1_000);
    expect(await world.inState(kind, 'active')).toMatchObject([{ id, soon: false }]);
  });

  it('takes over at the last moment although somebody is missing: else everybody would be cut off', async () => {
    const world = authorityWorld();
    const replica = await world.replica({ lifetimes: { rootSeconds: 20 * 86_400 } });
    run(replica);
    world.followers.behind = ['somebody who is stuck'];
    const [first] = await world.inState(kind, 'active');
    const end = (first?.notAfter ?? 0) - world.clock.now();
    await world.clock.advance(end - 26 * hour);
    expect(await world.states(kind)).toEqual(['active', 'prepared']);
    await world.clock.advance(26 * hour - 1_000);
    // A root that has ended verifies nothing more, so it may be gone already.
    expect((await world.states(kind)).at(-1)).toBe('active');
    expect((await world.inState(kind, 'active'))[0]?.id).not.toBe(first?.id);
    await checkAll(replica, world.clock.now());
  });

  it('that is tainted and that nobody revokes leaves the bundle when all that it signed has ended', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    run(replica);
    const [first] = await world.inState(kind, 'active');
    await rotated(world, replica, kind);
    await replica.rotation.taint(first?.id ?? '', admin);
    await world.clock.advance((first?.belowMs ?? 0) + 61_000);
    expect(await world.states(kind)).toEqual(['active']);
  });
});

describe('a rotation of the root', () => {
  it('is used by what is issued next, and what was issued before stays valid', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    const before = issue(replica);
    await rotated(world, replica);
    const after = issue(replica);
    expect(rootOf(replica, after.chain)).not.toBe(rootOf(replica, before.chain));
    const bundle = replica.authority.bundle.current;
    for (const svid of [before, after]) verifyPeer(svid.chain, bundle, { now: world.clock.now() });
  });

  it('changes neither the bundle nor the listener when the new root becomes active: nobody replaces anything', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    const { id } = await replica.rotation.prepare('x509', admin);
    const versions = [replica.authority.bundle.version, replica.authority.serverIdentity.version];
    await replica.rotation.activate(id, admin);
    expect([replica.authority.bundle.version, replica.authority.serverIdentity.version]).toEqual(versions);
  });

  it('leaves the listener at the oldest root that is not tainted: who slept through the switch can still verify it', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    const asleep = replica.authority.bundle.current;
    const pinned = replica.authority.rootFingerprint;
    run(replica);
    await rotated(world, replica);
    await world.clock.advance(3 * hour);
    const { chain } = replica.authority.serverIdentity.current;
    expect(verifyPeer(chain, asleep, { now: world.clock.now() }).id.path).toBe('/writ/control-plane');
    expect(replica.authority.rootFingerprint).toBe(pinned);
    // Once the old root is gone, the new one is what newcomers pin.
    await world.clock.advance(49 * hour);
    expect(replica.authority.rootFingerprint).not.toBe(pinned);
    expect(replica.authority.rootFingerprint).toBe(rootOf(replica, replica.authority.serverIdentity.current.chain));
    await checkAll(replica, world.clock.now());
  });

  it('moves the listener at once when its root is tainted', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    const first = await theOne(world, 'x509', 'active');
    await rotated(world, replica);
    const old = replica.authority.rootFingerprint;
    await replica.rotation.taint(first, admin);
    expect(replica.authority.rootFingerprint).not.toBe(old);
    expect(rootOf(replica, replica.authority.serverIdentity.current.chain)).toBe(replica.authority.rootFingerprint);
  });

  it('presents no chain to a root that the bundle does not hold, at no moment', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    const { authority } = replica;
    const check = () => {
      verifyPeer(authority.serverIdentity.current.chain, authority.bundle.current, { now: world.clock.now() });
    };
    authority.bundle.subscribe(check);
    authority.serverIdentity.subscribe(check);
    const first = await theOne(world, 'x509', 'active');
    await rotated(world, replica);
    await replica.rotation.taint(first, admin);
    await replica.rotation.revoke(first, admin);
    check();
  });

  it('happens over and over, with every identity valid all the time', async () => {
    const world = authorityWorld();
    const lifetimes = { rootSeconds: 86_400, intermediateSeconds: 3600, tokenKeySeconds: 86_400, x509MaxSeconds: 3600 };
    const replica = await world.replica({ lifetimes });
    run(replica);
    const seen = new Set<string>();
    let last = issue(replica);
    for (let i = 0; i < 5 * 24; i++) {
      await world.clock.advance(30 * 60_000);
      await checkAll(replica, world.clock.now());
      verifyPeer(last.chain, replica.authority.bundle.current, { now: world.clock.now() });
      last = issue(replica);
      seen.add(rootOf(replica, last.chain) ?? '');
      expect(replica.authority.bundle.current.roots.length).toBeLessThanOrEqual(3);
    }
    expect(seen.size).toBeGreaterThanOrEqual(3);
  });
});

describe('what is recorded', () => {
  it('is every change, with who made it, before it is made', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    const first = await theOne(world, 'jwt', 'active');
    const { id } = await replica.rotation.prepare('jwt', admin);
    await replica.rotation.activate(id, admin);
    await replica.rotation.taint(first, admin);
    await replica.rotation.revoke(first, admin);
    const common = {
      outcome: 'granted',
      actor: 'alice',
      source: '192.0.2.1',
      subject: 'spiffe://example.org',
      reason: '',
    };
    expect(world.recorder.events).toMatchObject([
      { ...common, action: 'authority.prepare', serial: id },
      { ...common, action: 'authority.activate', serial: id },
      { ...common, action: 'authority.taint', serial: first },
      { ...common, action: 'authority.revoke', serial: first },
    ]);
  });

  it('are refusals, with their reason', async () => {
    const world = authorityWorld();
    const { rotation } = await world.replica();
    const active = await theOne(world, 'x509', 'active');
    await expectAppError(rotation.taint(active, admin), 'conflict');
    expect(world.recorder.events).toMatchObject([
      {
        action: 'authority.taint',
        outcome: 'refused',
        serial: active,
        reason: expect.stringMatching(/^conflict: The x509/),
      },
    ]);
  });

  it('are the first authorities and what the schedule does, as the control plane', async () => {
    const world = authorityWorld();
    const replica = await world.replica();
    run(replica);
    await world.clock.advance(6 * day);
    const own = { actor: 'control-plane', outcome: 'granted' };
    const actions = world.recorder.events.map(({ action }) => action);
    expect(actions.slice(0, 5)).toEqual([
      ...Array(3).fill('authority.activate'),
      'authority.prepare',
      'authority.prepare',
    ]);
    expect(actions).toContain('authority.retire');
    for (const event of world.recorder.events) expect(event).toMatchObject(own);
  });

  it('is a condition: nothing changes while nothing can be recorded', async () => {
    const world = authorityWorld();
    const { rotation } = await world.replica();
    const { id } = await rotation.prepare('x509', admin);
    const before = await world.store.read();
    const keys = await world.keyStore.names();
    world.recorder.fail();
    await expectAppError(rotation.prepare('jwt', admin), 'unavailable');
    await expectAppError(rotation.activate(id, admin), 'unavailable');
    expect(await world.store.read()).toBe(before);
    expect(await world.keyStore.names()).toEqual(keys);
  });
});

describe('two replicas', () => {
  it('follow each other: what one prepares and activates, the other signs with', async () => {
    const world = authorityWorld();
    const a = await world.replica();
    const b = await world.replica();
    expect(b.authority.bundle.current).toEqual(a.authority.bundle.current);
    run(b);
    await rotated(world, a);
    await world.clock.advance(1);
    expect(b.authority.bundle.current).toEqual(a.authority.bundle.current);
    expect(rootOf(b, issue(b).chain)).toBe(rootOf(a, issue(a).chain));
  });

  it('of which one has a clock that jumps beyond the end of the root: it does not take the root away from the others', async () => {
    const world = authorityWorld();
    const good = await world.replica();
    let skew = 0;
    const { clock } = world;
    const jumping = { now: () => clock.now() + skew, after: clock.after.bind(clock) };
    const bad = await world.replica({ clock: jumping });
    const before = await world.inState('x509', 'active');
    skew = 400 * day;
    // What else it finds due may fail, or not: token keys of the future do nobody any harm.
    for (let i = 0; i < 3; i += 1) await bad.rotation.tick().catch(() => undefined);
    expect(await world.inState('x509', 'active')).toEqual(before);
    expect(await world.states('x509')).toEqual(['active']);
    await good.authority.refresh();
    await checkAll(good, clock.now());
  });

  it('that prepare at once prepare one, and the key of the other is gone', async () => {
    const world = authorityWorld();
    const [a, b] = [await world.replica(), await world.replica()];
    const before = (await world.keyStore.names()).length;
    const results = await Promise.allSettled([a.rotation.prepare('x509', admin), b.rotation.prepare('x509', admin)]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(await world.states('x509')).toEqual(['active', 'prepared']);
    expect(await world.keyStore.names()).toHaveLength(before + 1);
  });

  it('with the same schedule rotate once', async () => {
    const world = authorityWorld();
    for (const replica of [await world.replica(), await world.replica()]) run(replica);
    await world.clock.advance(8 * day);
    expect(await world.states('jwt')).toEqual(['active']);
    const activations = world.recorder.events.filter(
      ({ action, outcome, serial }) => action === 'authority.activate' && outcome === 'granted' && serial !== '',
    );
    const jwt = await theOne(world, 'jwt', 'active');
    expect(activations.filter(({ serial }) => serial === jwt).length).toBeGreaterThanOrEqual(1);
    expect(await world.keyStore.names()).toHaveLength(3);
  });

  it('of which one lacks the keys: it says so before the switch, and goes on with what everybody trusts', async () => {
    const world = authorityWorld();
    const a = await world.replica();
    const own = new MemoryKeyStore();
    for (const name of await world.keyStore.names())
      await own.save(name, (await world.keyStore.load(name)) ?? Buffer.alloc(0));
    const b = await world.replica({ keyStore: own });
    const { id } = await a.rotation.prepare('x509', admin);
    await b.authority.refresh();
    expect(b.authority.problems.join()).toMatch(
      /key x509-\S+ of the prepared x509 authority .* is not in the key store.*share one/s,
    );
    await a.rotation.activate(id, admin);
    await b.authority.refresh();
    const svid = issue(b);
    expect(verifyPeer(svid.chain, a.authority.bundle.current, { now: world.clock.now() }).id).toEqual(web);
    expect(b.authority.problems).not.toEqual([]);
    await expectAppError(
      world.replica({ keyStore: new MemoryKeyStore() }),
      'incompatible-data',
      /is not in the key store/,
    );
  });
});

describe('a failure in the middle', () => {
  /** Fails one call of a kind, before or after it has taken effect. */
  function faulty<T extends object>(target: T, method: keyof T & string, nth: number, when: 'before' | 'after'): T {
    let calls = 0;
    return new Proxy(target, {
      get(object, property) {
        const value = Reflect.get(object, property, object);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]) => {
          const isIt = property === method && ++calls === nth;
          if (isIt && when === 'before') throw new AppError('unavailable', 'power cut');
          const result = await value.apply(object, args);
          if (isIt) throw new AppError('unavailable', 'power cut');
          return result;
        };
      },
    });
  }

  const points = (['before', 'after'] as const).flatMap((when) => [
    { what: 'store', method: 'change', nth: 1, when } as const,
    { what: 'keyStore', method: 'create', nth: 1, when } as const,
    { what: 'store', method: 'change', nth: 2, when } as const,
  ]);

  it.each(points)('of preparing, $when $what.$method ($nth), leaves everything usable', async (point) => {
    const world = authorityWorld();
    await world.replica();
    const store: AuthorityStore =
      point.what === 'store' ? faulty(world.store, 'change', point.nth, point.when) : world.store;
    const keyStore =
      point.what === 'keyStore' ? faulty(world.keyStore, 'create', point.nth, point.when) : world.keyStore;
    const broken = await world.replica({ store, keyStore });
    await expectAppError(broken.rotation.prepare('x509', admin), 'unavailable', 'power cut');
    // Whoever starts next can go on, and what was begun is either whole or nowhere.
    const again = await world.replica();
    await checkAll(again, world.clock.now());
    const prepared = await world.inState('x509', 'prepared');
    // What is in a bundle is not taken back because somebody heard that it failed.
    if (point.what === 'store' && point.nth === 2 && point.when === 'after') expect(prepared).toHaveLength(1);
    const id = prepared[0]?.id ?? (await again.rotation.prepare('x509', admin)).id;
    await again.rotation.activate(id, admin);
    await checkAll(again, world.clock.now());
    await world.clock.advance(61 * 60_000);
    await again.rotation.tick();
    expect(await world.states('x509')).toEqual(['old', 'active']);
    const named = (await world.store.read()).records.map(({ keyName }) => keyName);
    expect(new Set(await world.keyStore.names())).toEqual(new Set(named));
  });

  it.each(points)('of the first start, $when $what.$method ($nth), makes no second root', async (point) => {
    const world = authorityWorld();
    const store = point.what === 'store' ? faulty(world.store, 'change', point.nth, point.when) : world.store;
    const keyStore =
      point.what === 'keyStore' ? faulty(world.keyStore, 'create', point.nth, point.when) : world.keyStore;
    await expectAppError(world.replica({ store, keyStore }), 'unavailable', 'power cut');
    const shown = await world.inState('x509', 'active');
    const again = await world.replica();
    await checkAll(again, world.clock.now());
    const active = await world.inState('x509', 'active');
    expect(active).toHaveLength(1);
    // One that could have been seen is kept.
    if (shown.length > 0) expect(active).toEqual(shown);
    await world.clock.advance(61 * 60_000);
    await again.rotation.tick();
    expect(await world.states('x509')).toEqual(['active']);
    expect(await world.keyStore.names()).toHaveLength(3);
  });

  it('so long that what was begun was cleared away meanwhile makes no authority without a key', async () => {
    const world = authorityWorld();
    const slow = new Proxy(world.keyStore, {
      get(target, property) {
        const value = Reflect.get(target, property, target);
        if (typeof value !== 'function') return value;
        return async (...args: unknown[]) => {
          const result = await value.apply(target, args);
          const ids = (await world.store.read()).records.map(({ id }) => id);
          if (property === 'create') await world.store.change((set) => withoutRecords(set, ids, world.clock.now()));
          return result;
        };
      },
    });
    await expectAppError(world.replica({ keyStore: slow }), 'unavailable', /cleared away meanwhile/);
    expect((await world.store.read()).records).toEqual([]);
    expect(await world.keyStore.names()).toEqual([]);
    await world.replica();
  });

  it('of deleting the key of what was revoked is made up for', async () => {
    const world = authorityWorld();
    const keyStore = faulty(world.keyStore, 'delete', 1, 'before');
    const replica = await world.replica({ keyStore });
    const first = await theOne(world, 'x509', 'active');
    await rotated(world, replica);
    await replica.rotation.taint(first, admin);
    await expectAppError(replica.rotation.revoke(first, admin), 'unavailable', 'power cut');
    expect(replica.authority.bundle.current.roots).toHaveLength(1);
    expect(await world.keyStore.names()).toHaveLength(4);
    await replica.rotation.tick();
    expect(await world.keyStore.names()).toHaveLength(3);
    expect(await world.states('x509')).toEqual(['active']);
  });

  it('a record whose key is missing is an error that says what to do, and never a new root', async () => {
    const world = authorityWorld();
    const { authority } = await world.replica();
    for (const name of await world.keyStore.names()) if (name.startsWith('x509')) await world.keyStore.delete(name);
    await expectAppError(world.replica(), 'incompatible-data', /not in the key store\. Put back the keys directory/);
    expect((await world.inState('x509', 'active'))[0]?.name).toBe(authority.rootFingerprint);
  });

  it('keys without any record are an error, and never a new root', async () => {
    const world = authorityWorld();
    await world.replica();
    const keys = await world.keyStore.names();
    await expectAppError(
      world.replica({ store: new MemoryAuthorities() }),
      'incompatible-data',
      /store knows no authority that they belong to\. Put back the store/,
    );
    expect(await world.keyStore.names()).toEqual(keys);
  });
});
