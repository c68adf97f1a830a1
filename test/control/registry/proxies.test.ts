import { sql } from 'kysely';
import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { ProxyHello, ProxyStatus } from '../../../src/control/registry/proxies.ts';
import { Proxies } from '../../../src/control/registry/proxies.ts';
import { ProxyRows } from '../../../src/control/registry/rows.ts';
import type { Store, StoreOptions } from '../../../src/control/store/store.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';

const web = 'spiffe://example.org/ns/shop/sa/web';
const one = Buffer.alloc(32, 1);
const two = Buffer.alloc(32, 2);
const day = 24 * 60 * 60 * 1000;

function hello(instanceId: string, o: Partial<ProxyHello> = {}): ProxyHello {
  const inbound = [{ address: `10.0.0.1:${instanceId.length}`, protocol: 'http', applicationPort: 8080 }] as const;
  return { instanceId, spiffeId: web, version: '0.1.0', inbound, ...o };
}

async function openProxies(store: Store, clock: FakeClock) {
  const published = new WatchSource({ revision: 3 });
  const proxies = await Proxies.open({ store, clock, logger: silentLogger, published });
  const stopping = new AbortController();
  const running = proxies.run(stopping.signal);
  const stop = async () => {
    stopping.abort();
    await running;
    await proxies.close();
  };
  onTestFinished(stop);
  return { proxies, published, stop };
}

async function setUp(stores: StoreBench, database?: StoreOptions, clock = new FakeClock()) {
  const store = await stores.open(database);
  return { store, clock, ...(await openProxies(store, clock)) };
}

/** Moves time on in steps, and lets each round of record keeping, of every replica, end before the next. */
async function pass(clock: FakeClock, ms: number, replicas = 1): Promise<void> {
  const resting = () => expect.poll(() => clock.pendingTimers, { timeout: 10_000, interval: 2 }).toBe(replicas);
  const end = clock.now() + ms;
  await resting();
  while (clock.now() < end) {
    await clock.advance(Math.min(10_000, end - clock.now()));
    await resting();
  }
}

function addresses(proxies: Proxies): readonly string[] {
  return proxies.services.current.flatMap((service) => service.endpoints.map((endpoint) => endpoint.address));
}

function only(proxies: Proxies): ProxyStatus {
  const [status, ...others] = proxies.list();
  expect(others).toEqual([]);
  if (status === undefined) throw new Error('no proxy is listed');
  return status;
}

describeEachStore('A sidecar', (stores) => {
  it('is missing until it has acknowledged a trust bundle of that sequence, or a later one', async () => {
    const { proxies } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    const name = `${web} (instance a)`;
    expect(proxies.missing(5)).toEqual([name]);
    connection.sent(3, one, 5);
    expect(proxies.missing(5)).toEqual([name]);
    connection.ack(3, two);
    connection.nack(3, one, 'no');
    expect(proxies.missing(5)).toEqual([name]);
    connection.sent(3, one, 5);
    connection.ack(3, one);
    expect(proxies.missing(5)).toEqual([]);
    expect(proxies.missing(6)).toEqual([name]);
    connection.sent(4, two, 7);
    connection.ack(4, two);
    expect(proxies.missing(6)).toEqual([]);
  });

  it('that is connected to another replica is missing there too, until that replica has stored what it acknowledged', async () => {
    const database = await stores.database();
    const clock = new FakeClock();
    const here = await setUp(stores, database, clock);
    const there = await setUp(stores, database, clock);
    const connection = await there.proxies.connect(hello('a'));
    await expect.poll(() => here.proxies.missing(5), { timeout: 10_000 }).toEqual([`${web} (instance a)`]);
    connection.sent(3, one, 5);
    connection.ack(3, one);
    const soon = async () => {
      await pass(clock, 10_000, 2);
      return here.proxies.missing(5);
    };
    await expect.poll(soon, { timeout: 10_000 }).toEqual([]);
    expect(here.proxies.missing(6)).toHaveLength(1);
    // Whoever has been away for a minute is not waited for: it gets the bundle when it comes back.
    await connection.close({ goodbye: false });
    await pass(clock, 90_000, 2);
    expect(here.proxies.missing(6)).toEqual([]);
    expect(there.proxies.missing(6)).toEqual([]);
  });

  it('that said goodbye is not missing', async () => {
    const { proxies } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    await connection.close({ goodbye: true });
    expect(proxies.missing(5)).toEqual([]);
  });

  it('is part of the mesh as soon as it has connected', async () => {
    const { proxies, clock } = await setUp(stores);
    await proxies.connect(hello('a'));
    expect(proxies.services.current).toEqual([
      {
        name: 'web',
        namespace: 'shop',
        spiffeId: web,
        endpoints: [{ address: '10.0.0.1:1', protocol: 'http', applicationPort: 8080 }],
      },
    ]);
    expect(proxies.list()).toEqual([
      {
        instanceId: 'a',
        spiffeId: web,
        version: '0.1.0',
        connected: true,
        state: 'pending',
        serving: true,
        desiredRevision: 3,
        desiredChange: null,
        staleSince: clock.now(),
        acknowledgedRevision: null,
        acknowledgedAt: null,
        connectedSince: clock.now(),
        lastSeen: clock.now(),
        endpoints: ['10.0.0.1:1'],
        ports: [{ applicationPort: 8080, protocol: 'http' }],
        lastError: null,
        quarantineRevision: null,
      },
    ]);
  });

  it('is synced when it has acknowledged what it was sent last', async () => {
    const { proxies, clock, published } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    connection.ack(1, one);
    expect(only(proxies).state).toBe('pending');
    connection.sent(3, one);
    expect(only(proxies).state).toBe('pending');
    await clock.advance(5);
    connection.ack(3, one);
    expect(only(proxies)).toMatchObject({ state: 'synced', acknowledgedRevision: 3, acknowledgedAt: clock.now() });
    published.set({ revision: 4 });
    connection.sent(4, two);
    expect(only(proxies)).toMatchObject({ state: 'pending', desiredRevision: 4, acknowledgedRevision: 3 });
    // Not for what it was sent last.
    connection.ack(4, one);
    expect(only(proxies)).toMatchObject({ state: 'pending', acknowledgedRevision: 3 });
    connection.ack(4, two);
    expect(only(proxies)).toMatchObject({ state: 'synced', acknowledgedRevision: 4 });
  });

  it('is stale from what it was sent to its acknowledgement, and from when it was seen last while it is away', async () => {
    const { proxies, clock, published } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    expect(only(proxies).staleSince).toBe(clock.now());
    connection.sent(3, one);
    connection.ack(3, one);
    expect(only(proxies).staleSince).toBeNull();
    const first = clock.now();
    published.set({ revision: 4 });
    connection.sent(4, two);
    await clock.advance(5_000);
    connection.nack(4, two, 'no');
    connection.sent(5, one);
    expect(only(proxies).staleSince).toBe(first);
    connection.ack(5, one);
    expect(only(proxies).staleSince).toBeNull();
    const seen = clock.now();
    await connection.close({ goodbye: false });
    expect(only(proxies).staleSince).toBeNull();
    published.set({ revision: 6 });
    await clock.advance(5_000);
    expect(only(proxies).staleSince).toBe(seen);
  });

  it('should have the candidate of a change where it was chosen for that', async () => {
    const published = new WatchSource({ revision: 3 });
    const desired = (id: string) => ({ revision: 9, change: id === 'a' ? 7 : null });
    const options = { store: await stores.open(), clock: new FakeClock(), logger: silentLogger, published, desired };
    const proxies = await Proxies.open(options);
    onTestFinished(() => proxies.close());
    await proxies.connect(hello('a'));
    expect(only(proxies)).toMatchObject({ desiredRevision: 9, desiredChange: 7 });
  });

  it('is rejected from its refusal to its next acknowledgement', async () => {
    const { proxies } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    connection.sent(1, one);
    connection.ack(1, one);
    connection.sent(2, two);
    connection.nack(2, two, 'x'.repeat(10_000));
    expect(only(proxies)).toMatchObject({ state: 'rejected', acknowledgedRevision: 1 });
    expect(only(proxies).lastError).toHaveLength(4096);
    connection.sent(3, one);
    expect(only(proxies).state).toBe('rejected');
    connection.ack(3, one);
    expect(only(proxies)).toMatchObject({ state: 'synced', acknowledgedRevision: 3, lastError: null });
  });

  it('leaves the mesh at once when it says goodbye', async () => {
    const { proxies, clock } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    connection.sent(3, one);
    connection.ack(3, one);
    await clock.advance(5);
    await connection.close({ goodbye: true });
    expect(proxies.services.current).toEqual([]);
    expect(only(proxies)).toMatchObject({
      connected: false,
      state: 'disconnected',
      connectedSince: null,
      acknowledgedRevision: 3,
      lastSeen: clock.now(),
    });
  });

  it('stays in the mesh for a minute when it just goes away', async () => {
    const { proxies, clock } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    await connection.close({ goodbye: false });
    await connection.close({ goodbye: true });
    expect(only(proxies).state).toBe('disconnected');
    await pass(clock, 59_000);
    expect(addresses(proxies)).toEqual(['10.0.0.1:1']);
    await pass(clock, 11_000);
    await expect.poll(() => addresses(proxies), { timeout: 10_000 }).toEqual([]);
  });

  it('stays in the mesh when it comes back within the minute, without a new revision', async () => {
    const { proxies, clock, store } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    await connection.close({ goodbye: false });
    await pass(clock, 40_000);
    await proxies.connect(hello('a'));
    await pass(clock, 300_000);
    expect(addresses(proxies)).toEqual(['10.0.0.1:1']);
    expect(only(proxies).state).toBe('pending');
    expect(store.revision.current).toBe(1);
  });

  it('is not given up because the control plane was away, but a minute after it is back', async () => {
    const database = await stores.database();
    const clock = new FakeClock();
    const first = await setUp(stores, database, clock);
    await first.proxies.connect(hello('a'));
    await first.stop();
    await first.store.close();
    await clock.advance(day / 2);

    const { proxies } = await setUp(stores, database, clock);
    expect(addresses(proxies)).toEqual(['10.0.0.1:1']);
    expect(only(proxies)).toMatchObject({ state: 'disconnected', connected: false, acknowledgedRevision: null });
    await pass(clock, 50_000);
    expect(addresses(proxies)).toEqual(['10.0.0.1:1']);
    await pass(clock, 20_000);
    await expect.poll(() => addresses(proxies), { timeout: 10_000 }).toEqual([]);
  });

  it('is not given up while the database cannot be read', async () => {
    const { proxies, clock, store } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    await connection.close({ goodbye: false });
    await sql`alter table proxies rename to proxies_away`.execute(store.db);
    await pass(clock, 120_000);
    await sql`alter table proxies_away rename to proxies`.execute(store.db);
    await pass(clock, 40_000);
    expect(addresses(proxies)).toEqual(['10.0.0.1:1']);
    await pass(clock, 40_000);
    await expect.poll(() => addresses(proxies), { timeout: 10_000 }).toEqual([]);
  });

  it('is listed for a day after it was last seen', async () => {
    const { proxies, clock, store } = await setUp(stores);
    const connection = await proxies.connect(hello('a'));
    await connection.close({ goodbye: true });
    await clock.advance(day - 20_000);
    expect(proxies.list()).toHaveLength(1);
    await pass(clock, 40_000);
    await expect.poll(() => proxies.list(), { timeout: 10_000 }).toEqual([]);
    expect(await store.db.selectFrom('proxies').selectAll().execute()).toEqual([]);
  });

  it('has one stream: what an older one says or does counts no more', async () => {
    const { proxies } = await setUp(stores);
    const older = await proxies.connect(hello('a'));
    older.sent(3, one);
    const newer = await proxies.connect(hello('a'));
    older.ack(3, one);
    expect(only(proxies).state).toBe('pending');
    await older.close({ goodbye: true });
    expect(addresses(proxies)).toEqual(['10.0.0.1:1']);
    newer.sent(3, one);
    newer.ack(3, one);
    expect(only(proxies)).toMatchObject({ connected: true, state: 'synced' });
  });

  it('keeps its endpoints when its old stream says goodbye while it connects again', async () => {
    const { proxies } = await setUp(stores);
    const older = await proxies.connect(hello('a'));
    await Promise.all([proxies.connect(hello('a')), older.close({ goodbye: true })]);
    expect(addresses(proxies)).toEqual(['10.0.0.1:1']);
  });

  it('keeps its endpoints when it connects again while its old stream says goodbye', async () => {
    const { proxies } = await setUp(stores);
    const older = await proxies.connect(hello('a'));
    await Promise.all([older.close({ goodbye: true }), proxies.connect(hello('a'))]);
    expect(addresses(proxies)).toEqual(['10.0.0.1:1']);
  });

  it('keeps its endpoints when the goodbye of its old stream is carried out after it has connected again', async () => {
    const { store, clock } = await setUp(stores);
    const gate = Promise.withResolvers<void>();
    let open = true;
    const slow: Store = {
      ...{ kind: store.kind, db: store.db, cursors: store.cursors, revision: store.revision },
      async transaction(fn) {
        if (!open) {
          open = true;
          await gate.promise;
        }
        return await store.transaction(fn);
      },
      nextRevision: (trx) => store.nextRevision(trx),
      close: () => store.close(),
    };
    const { proxies } = await openProxies(slow, clock);
    const older = await proxies.connect(hello('a'));
    open = false;
    const goodbye = older.close({ goodbye: true });
    await proxies.connect(hello('a'));
    gate.resolve();
    await goodbye;
    expect(addresses(proxies)).toEqual(['10.0.0.1:1']);
  });

  it('comes back into the mesh when another replica gave it up although it is connected here', async () => {
    const { proxies, clock, store } = await setUp(stores);
    await proxies.connect(hello('a'));
    await new ProxyRows(store).leave('a', clock.now(), () => true);
    await expect.poll(() => addresses(proxies), { timeout: 10_000 }).toEqual([]);
    await pass(clock, 10_000);
    await expect.poll(() => addresses(proxies), { timeout: 10_000 }).toEqual(['10.0.0.1:1']);
  });

  it('may move: its new endpoints replace the old ones', async () => {
    const { proxies } = await setUp(stores);
    await proxies.connect(hello('a'));
    await proxies.connect(
      hello('a', { inbound: [{ address: '[fd00::1]:15006', protocol: 'tcp', applicationPort: 5432 }] }),
    );
    expect(proxies.services.current[0]?.endpoints).toEqual([
      { address: '[fd00::1]:15006', protocol: 'tcp', applicationPort: 5432 },
    ]);
    expect(only(proxies).endpoints).toEqual(['[fd00::1]:15006']);
  });

  it('is seen by every replica, and leaves on every replica', async () => {
    const database = await stores.database();
    const clock = new FakeClock();
    const here = await setUp(stores, database, clock);
    const there = await setUp(stores, database, clock);
    const connection = await here.proxies.connect(hello('a'));
    await expect.poll(() => addresses(there.proxies), { timeout: 10_000 }).toEqual(['10.0.0.1:1']);
    // Connected to the other replica: not given up here.
    await pass(clock, 200_000, 2);
    expect(addresses(there.proxies)).toEqual(['10.0.0.1:1']);
    await connection.close({ goodbye: true });
    await expect.poll(() => addresses(there.proxies), { timeout: 10_000 }).toEqual([]);
  });

  it('is not there when its hello is refused', async () => {
    const { proxies } = await setUp(stores);
    await expectAppError(proxies.connect(hello('a', { version: 'x'.repeat(129) })), 'invalid', /^version /);
    expect(proxies.list()).toEqual([]);
  });

  it('changes nothing for readers of services when it comes again as it was', async () => {
    const { proxies, store } = await setUp(stores);
    await proxies.connect(hello('a'));
    const { version } = proxies.services;
    await proxies.connect(hello('a'));
    await proxies.connect(hello('a', { version: '0.2.0' }));
    expect(proxies.services.version).toBe(version);
    expect(store.revision.current).toBe(2);
    expect(only(proxies).version).toBe('0.2.0');
  });

  it('comes with many others at once, and all are there', async () => {
    const { proxies } = await setUp(stores);
    const instances = Array.from({ length: 30 }, (_, i) =>
      hello(`i${i}`, { inbound: [{ address: `10.0.0.${i}:1`, protocol: 'http', applicationPort: 1 }] }),
    );
    await Promise.all(instances.map((each) => proxies.connect(each)));
    expect(new Set(addresses(proxies)).size).toBe(30);
    expect(proxies.list()).toHaveLength(30);
  });
});
