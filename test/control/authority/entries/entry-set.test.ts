import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../../src/base/log.ts';
import { Entries } from '../../../../src/control/authority/entries/entries.ts';
import type { EntryChanges, EntrySnapshot } from '../../../../src/control/authority/entries/entry-set.ts';
import { EntrySet } from '../../../../src/control/authority/entries/entry-set.ts';
import type { Store } from '../../../../src/control/store/store.ts';
import { FakeClock } from '../../../support/clock.ts';
import type { StoreBench } from '../../../support/stores.ts';
import { describeEachStore } from '../../../support/stores.ts';

const trustDomain = 'example.org';
const agent = 'spiffe://example.org/writ/agent/x509pop/abc';
const web = 'spiffe://example.org/ns/shop/sa/web';

async function openSet(store: Store, clock: FakeClock) {
  const set = await EntrySet.open({ store, trustDomain, clock, logger: silentLogger });
  onTestFinished(() => set.close());
  const changes: EntryChanges[] = [];
  set.current.subscribe((snapshot) => changes.push(snapshot.changed));
  return { set, changes };
}

async function setUp(stores: StoreBench) {
  const clock = new FakeClock();
  const store = await stores.open();
  return { store, clock, entries: new Entries({ store, trustDomain, clock }), ...(await openSet(store, clock)) };
}

/** Everything that a snapshot says is what the store says. */
async function expectWhole(snapshot: EntrySnapshot, entries: Entries, now: number) {
  const { items } = await entries.list({ limit: 500 });
  const live = items.filter((entry) => entry.expiresAt === null || entry.expiresAt > now);
  const byId = [...snapshot.all()].sort((a, b) => (a.id < b.id ? -1 : 1));
  expect(byId).toEqual(live);
  expect(snapshot.size).toBe(live.length);
  for (const entry of live) {
    expect(snapshot.byId(entry.id)).toEqual(entry);
    expect(snapshot.bySpiffeId(entry.spiffeId)).toEqual(live.filter((one) => one.spiffeId === entry.spiffeId));
    if (entry.parentId === null) continue;
    expect(snapshot.byParent(entry.parentId)).toEqual(live.filter((one) => one.parentId === entry.parentId));
  }
}

describeEachStore('The set of entries', (stores) => {
  it('is what the store has, at every revision, with what has changed', async () => {
    const { entries, clock, set, changes } = await setUp(stores);
    const step = async <T>(change: Promise<T>): Promise<T> => {
      const value = await change;
      await set.settled();
      await expectWhole(set.current.current, entries, clock.now());
      await clock.advance(1);
      return value;
    };
    const at = (uid: number) => ({ spiffeId: web, parentId: agent, selectors: [`unix:uid:${uid}`] });
    const a = await step(entries.create(at(1)));
    const b = await step(entries.create(at(2)));
    await step(entries.update(a.id, { ...at(1), parentId: 'spiffe://example.org/nodes' }, '*'));
    await step(entries.update(b.id, { ...at(2), labels: { app: 'web' } }, '*'));
    await step(entries.delete(a.id, '*'));
    await step(entries.create({ spiffeId: 'spiffe://example.org/other' }));
    expect(changes.slice(0, 5)).toEqual([
      { upserted: [a.id], removed: [] },
      { upserted: [b.id], removed: [] },
      { upserted: [a.id], removed: [] },
      // Labels are changed for all entries of an identity.
      { upserted: expect.arrayContaining([a.id, b.id]), removed: [] },
      { upserted: [], removed: [a.id] },
    ]);
    expect(changes).toHaveLength(6);
  });

  it('begins with everything, and passes over what changes nothing', async () => {
    const { entries, store, clock, changes, set } = await setUp(stores);
    await entries.create({ spiffeId: web });
    await set.settled();
    const again = await openSet(store, clock);
    expect(again.set.current.current).toMatchObject({ changed: 'all', size: 1, revision: 1 });
    await store.transaction((trx) => store.nextRevision(trx));
    await Promise.all([set.settled(), again.set.settled()]);
    expect([changes.length, again.changes.length]).toEqual([1, 0]);
  });

  it('takes changes that come together as one', async () => {
    const { entries, set, clock } = await setUp(stores);
    const { sequence } = set.current.current;
    const made = await Promise.all([1, 2, 3].map((uid) => entries.create({ spiffeId: web, selectors: [`x:${uid}`] })));
    const [first] = made;
    await entries.delete(first?.id ?? '', '*');
    await set.settled();
    await expectWhole(set.current.current, entries, clock.now());
    const changed = set.current.current.changesSince(sequence);
    expect(changed === 'all' ? changed : [...changed.upserted].sort()).toEqual(
      made
        .slice(1)
        .map(({ id }) => id)
        .sort(),
    );
    expect(set.current.current.changesSince(set.current.current.sequence)).toEqual({ upserted: [], removed: [] });
    expect(set.current.current.changesSince(0)).toBe('all');
  });

  it('hears of every deletion, and deletions are forgotten after a day', async () => {
    const { entries, store, clock, set } = await setUp(stores);
    const made = [];
    for (const name of ['a', 'b', 'c', 'd'])
      made.push(await entries.create({ spiffeId: `spiffe://example.org/${name}` }));
    await set.settled();
    const [a, b, c, d] = made.map((entry) => entry.id);
    const remembered = async () => (await store.db.selectFrom('deleted_entries').select('id').execute()).length;
    await entries.delete(a ?? '', '*');
    await clock.advance(1000);
    await Promise.all([entries.delete(b ?? '', '*'), entries.delete(c ?? '', '*')]);
    await set.settled();
    expect([...set.current.current.all()].map((entry) => entry.id)).toEqual([d]);
    expect(await remembered()).toBe(3);
    await clock.advance(86_400_000);
    await entries.delete(d ?? '', '*');
    expect(await remembered()).toBe(3);
    await set.settled();
    expect(set.current.current.size).toBe(0);
  });

  it('changes when an entry expires, at that moment', async () => {
    const { entries, clock, set, changes } = await setUp(stores);
    const spiffeId = (n: number) => `spiffe://example.org/${n}`;
    const late = await entries.create({ spiffeId: spiffeId(2), expiresAt: clock.now() + 2000 });
    const early = await entries.create({ spiffeId: spiffeId(1), expiresAt: clock.now() + 1000 });
    const moved = await entries.create({ spiffeId: spiffeId(3), expiresAt: clock.now() + 1500 });
    await entries.update(moved.id, { spiffeId: spiffeId(3) }, '*');
    await set.settled();
    await clock.advance(999);
    expect(set.current.current.size).toBe(3);
    await clock.advance(1);
    expect(changes.at(-1)).toEqual({ upserted: [], removed: [early.id] });
    expect(set.current.current.byId(early.id)).toBeUndefined();
    expect(set.current.current.bySpiffeId(spiffeId(1))).toEqual([]);
    await expectWhole(set.current.current, entries, clock.now());
    await clock.advance(1000);
    expect(changes.at(-1)).toEqual({ upserted: [], removed: [late.id] });
    // A later time brings it back.
    await entries.update(late.id, { spiffeId: spiffeId(2), expiresAt: clock.now() + 1000 }, '*');
    await set.settled();
    expect(changes.at(-1)).toEqual({ upserted: [late.id], removed: [] });
    await clock.advance(1000);
    expect([...set.current.current.all()].map((entry) => entry.id)).toEqual([moved.id]);
  });

  it('has nothing that had expired when it was opened, and drops what expires far away', async () => {
    const { entries, clock, store } = await setUp(stores);
    const day = 86_400_000;
    await entries.create({ spiffeId: web, expiresAt: clock.now() + 1 });
    await entries.create({ spiffeId: 'spiffe://example.org/far', expiresAt: clock.now() + 60 * day });
    await clock.advance(1);
    const { set } = await openSet(store, clock);
    expect(set.current.current.size).toBe(1);
    await clock.advance(59 * day);
    expect(set.current.current.size).toBe(1);
    await clock.advance(day);
    expect(set.current.current.size).toBe(0);
  });

  it('S9: has nothing of another trust domain, nor what cannot be read', async () => {
    const { entries, clock, store, set } = await setUp(stores);
    const foreign = new Entries({ store, trustDomain: 'other.org', clock });
    await foreign.create({ spiffeId: 'spiffe://other.org/web' });
    const { id } = await entries.create({ spiffeId: web, parentId: agent, selectors: ['x:1'] });
    const own = await entries.create({ spiffeId: web });
    const broken = await entries.create({ spiffeId: 'spiffe://example.org/broken' });
    const torn = await entries.create({ spiffeId: 'spiffe://example.org/torn' });
    await set.settled();
    expect(set.current.current.size).toBe(4);
    await store.transaction(async (trx) => {
      const revision = await store.nextRevision(trx);
      await trx
        .updateTable('entries')
        .set({ parent_id: 'spiffe://other.org/x', revision })
        .where('id', '=', id)
        .execute();
      await trx.updateTable('entries').set({ spiffe_id: '{{', revision }).where('id', '=', broken.id).execute();
      await trx.updateTable('entries').set({ selectors: '[', revision }).where('id', '=', torn.id).execute();
    });
    await set.settled();
    expect([...set.current.current.all()]).toEqual([own]);
    const again = await openSet(store, clock);
    expect([...again.set.current.current.all()]).toEqual([own]);
  });

  it('S16: has nothing that would make a workload an agent, or the trust domain, however it came into the store', async () => {
    const { entries, store, set } = await setUp(stores);
    const template = 'spiffe://example.org/ns/shop/sa/{{k8s.sa}}';
    const written = ['/writ/agent/x509pop/ab', '/writ', '', '/writ/agent/x509pop/{{k8s.sa}}'];
    for (const [index, path] of written.entries()) {
      const spiffeId = index === 3 ? template : `spiffe://example.org/${index}`;
      const { id } = await entries.create({ spiffeId, parentId: agent, selectors: ['x:1'] });
      await store.transaction(async (trx) => {
        const change = { spiffe_id: `spiffe://example.org${path}`, revision: await store.nextRevision(trx) };
        await trx.updateTable('entries').set(change).where('id', '=', id).execute();
      });
    }
    const own = await entries.create({ spiffeId: template, parentId: agent, selectors: ['x:2'] });
    await set.settled();
    expect([...set.current.current.all()]).toEqual([own]);
  });

  it('finds what speaks for an identity: its own entry, else a template', async () => {
    const { entries, clock, set } = await setUp(stores);
    const spiffeId = 'spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}';
    const template = await entries.create({ spiffeId, parentId: agent, selectors: ['x:1'], namespaces: ['shop'] });
    await set.settled();
    expect(set.current.current.ofIdentity(web)).toEqual(template);
    expect(set.current.current.ofIdentity('spiffe://example.org/ns/bank/sa/web')).toBeUndefined();
    await clock.advance(1);
    const exact = await entries.create({ spiffeId: web });
    await set.settled();
    expect(set.current.current.ofIdentity(web)).toEqual(exact);
    expect(await set.bySpiffeId(web)).toEqual(exact);
    // Asked for in the same breath as it is made.
    const made = await entries.create({ spiffeId: 'spiffe://example.org/new' });
    expect(await set.bySpiffeId(made.spiffeId)).toEqual(made);
    expect(await set.bySpiffeId('spiffe://example.org/other')).toBeUndefined();
  });

  it('follows the changes of another replica', async () => {
    const database = await stores.database();
    const clock = new FakeClock();
    const [here, there] = [await stores.open(database), await stores.open(database, { clock })];
    const { set, changes } = await openSet(there, clock);
    const entries = new Entries({ store: here, trustDomain, clock });
    const a = await entries.create({ spiffeId: web });
    const seen = there.revision.next(there.revision.version);
    await clock.advance(500);
    if (there.revision.current < 1) await seen;
    await set.settled();
    expect(changes).toEqual([{ upserted: [a.id], removed: [] }]);
  });
});

describe('The set of entries', () => {
  it('reads everything again after a silence so long that deletions may be forgotten, and goes on after failures', async () => {
    const clock = new FakeClock();
    const { openStore } = await import('../../../../src/control/store/store.ts');
    const store = await openStore({ kind: 'sqlite', path: ':memory:' }, { clock, logger: silentLogger });
    onTestFinished(() => store.close());
    const entries = new Entries({ store, trustDomain, clock });
    await entries.create({ spiffeId: web });
    const { set, changes } = await openSet(store, clock);
    await store.db.schema.alterTable('deleted_entries').renameTo('away').execute();
    await entries.create({ spiffeId: 'spiffe://example.org/b' });
    await set.settled();
    expect(set.current.current.size).toBe(1);
    await clock.advance(1000);
    await set.settled();
    expect(set.current.current.size).toBe(1);
    await store.db.schema.alterTable('away').renameTo('deleted_entries').execute();
    await clock.advance(1000);
    await set.settled();
    expect(set.current.current.size).toBe(2);
    expect(changes.at(-1)).not.toBe('all');

    await clock.advance(13 * 60 * 60 * 1000);
    await entries.create({ spiffeId: 'spiffe://example.org/c' });
    await set.settled();
    expect(changes.at(-1)).toBe('all');
    expect(set.current.current.size).toBe(3);
  });
});
