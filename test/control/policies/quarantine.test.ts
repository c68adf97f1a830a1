import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { InQuarantine } from '../../../src/control/policies/quarantine.ts';
import { MAX_QUARANTINED, Quarantines } from '../../../src/control/policies/quarantines.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { listRecorder } from '../../support/recorder.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';
const ORDERS = 'spiffe://example.org/ns/shop/sa/orders';
const write = { reason: 'INC-7', actor: 'alice', source: '10.0.0.9' };

async function start(bench: StoreBench, store?: Store) {
  const clock = new FakeClock();
  const own = store ?? (await bench.open());
  const recorder = listRecorder();
  const quarantines = new Quarantines({ store: own, trustDomain: 'example.org', clock, recorder });
  const list = await follow(own);
  return { store: own, clock, recorder, quarantines, list };
}

async function follow(store: Store): Promise<InQuarantine> {
  const list = await InQuarantine.open({ store, clock: new FakeClock(), logger: silentLogger });
  onTestFinished(() => list.close());
  return list;
}

/** Resolves when the list is at this revision. */
async function at(list: InQuarantine, revision: number): Promise<readonly string[]> {
  while (list.current.current.revision < revision) await list.current.next(list.current.version);
  return list.current.current.spiffeIds;
}

describeEachStore('quarantine', (bench) => {
  it('before the first there is nobody, at revision 0', async () => {
    const { list } = await start(bench);
    expect(list.current.current).toEqual({ revision: 0, spiffeIds: [] });
    expect(() => list.refuse(WEB)).not.toThrow();
  });

  it('holds who was put into it, with who, when, why and a revision', async () => {
    const { quarantines, list, clock, recorder } = await start(bench);
    const { quarantine, created } = await quarantines.put(WEB, write);
    expect(created).toBe(true);
    expect(quarantine).toEqual({
      id: quarantine.id,
      spiffeId: WEB,
      reason: 'INC-7',
      author: 'alice',
      createdAt: clock.now(),
      revision: quarantine.revision,
      released: null,
    });
    expect(await at(list, quarantine.revision)).toEqual([WEB]);
    await expectAppError(
      () => list.refuse(WEB),
      'forbidden',
      `${WEB} is in quarantine: it gets no certificate and no token until an operator releases it.`,
    );
    expect(() => list.refuse(ORDERS)).not.toThrow();
    expect(recorder.events).toMatchObject([
      {
        action: 'quarantine.put',
        outcome: 'granted',
        subject: WEB,
        actor: 'alice',
        source: '10.0.0.9',
        serial: quarantine.id,
        reason: 'INC-7',
      },
    ]);
  });

  it('a second time changes nothing, not even the reason', async () => {
    const { quarantines, recorder } = await start(bench);
    const first = await quarantines.put(WEB, write);
    const second = await quarantines.put(WEB, { ...write, reason: 'another' });
    expect(second).toEqual({ quarantine: first.quarantine, created: false });
    expect(recorder.events).toHaveLength(1);
  });

  it('two at once make one quarantine', async () => {
    const { quarantines } = await start(bench);
    const both = await Promise.all([quarantines.put(WEB, write), quarantines.put(WEB, write)]);
    expect(both.map((each) => each.created).sort()).toEqual([false, true]);
    expect(both[0].quarantine.id).toBe(both[1].quarantine.id);
  });

  it('a release is a change of its own: the revision grows, and the history stays', async () => {
    const { quarantines, list, recorder } = await start(bench);
    const { quarantine } = await quarantines.put(WEB, write);
    await quarantines.put(ORDERS, write);
    const released = await quarantines.release(quarantine.id, { ...write, reason: 'clean', actor: 'bob' });
    expect(released).toMatchObject({ id: quarantine.id, released: { reason: 'clean', author: 'bob' } });
    expect(released.revision).toBeGreaterThan(quarantine.revision);
    expect(await at(list, released.revision)).toEqual([ORDERS]);
    expect(() => list.refuse(WEB)).not.toThrow();
    expect(recorder.events.at(-1)).toMatchObject({ action: 'quarantine.release', subject: WEB, actor: 'bob' });
    expect((await quarantines.list()).items.map((each) => each.spiffeId)).toEqual([ORDERS]);
    expect((await quarantines.list({ released: true })).items).toEqual([released]);
    expect(await quarantines.get(quarantine.id)).toEqual(released);
    // Released twice, it stays as it was; and it can be put into quarantine anew.
    expect(await quarantines.release(quarantine.id, write)).toEqual(released);
    const again = await quarantines.put(WEB, write);
    expect(again.created).toBe(true);
    expect(again.quarantine.id).not.toBe(quarantine.id);
  });

  it('the last release leaves an empty list of a newer revision, not revision 0', async () => {
    const { quarantines, list } = await start(bench);
    const { quarantine } = await quarantines.put(WEB, write);
    const { revision } = await quarantines.release(quarantine.id, write);
    expect(await at(list, revision)).toEqual([]);
    expect(list.current.current.revision).toBe(revision);
  });

  it('survives a restart of the control plane', async () => {
    const database = await bench.database();
    const first = await bench.open(database);
    const { quarantines } = await start(bench, first);
    const { quarantine } = await quarantines.put(WEB, write);
    await first.close();
    const list = await follow(await bench.open(database));
    expect(list.current.current).toEqual({ revision: quarantine.revision, spiffeIds: [WEB] });
  });

  it('another replica hears of it', async () => {
    const database = await bench.database();
    const { quarantines } = await start(bench, await bench.open(database));
    const other = await bench.open(database);
    const list = await follow(other);
    const { quarantine } = await quarantines.put(WEB, write);
    expect(await at(list, quarantine.revision)).toEqual([WEB]);
  });

  it('what cannot be recorded is not done', async () => {
    const { quarantines, recorder, list } = await start(bench);
    recorder.fail();
    await expectAppError(quarantines.put(WEB, write), 'unavailable');
    expect((await quarantines.list()).items).toEqual([]);
    recorder.fail(false);
    const { quarantine } = await quarantines.put(WEB, write);
    await at(list, quarantine.revision);
    recorder.fail();
    await expectAppError(quarantines.release(quarantine.id, write), 'unavailable');
    expect((await quarantines.get(quarantine.id)).released).toBeNull();
  });

  it('a dry run checks everything and changes nothing', async () => {
    const { quarantines, recorder } = await start(bench);
    const { quarantine } = await quarantines.put(WEB, { ...write, dryRun: true });
    expect(quarantine.revision).toBe(0);
    expect((await quarantines.list()).items).toEqual([]);
    expect(recorder.events).toEqual([]);
  });

  it('refuses what names no identity, and the control plane itself', async () => {
    const { quarantines } = await start(bench);
    const refused: readonly [string, RegExp][] = [
      ['web', /SPIFFE ID/],
      ['spiffe://example.org', /name of a trust domain/],
      ['spiffe://example.org/writ/control-plane', /control plane itself/],
      ['SPIFFE://example.org/ns/shop/sa/web', /lower case/],
    ];
    for (const [id, message] of refused) await expectAppError(quarantines.put(id, write), 'invalid', message);
  });

  it('refuses a reason that is none, or would spoil a terminal', async () => {
    const { quarantines } = await start(bench);
    for (const reason of ['', ' ', 'two\nlines', '\u001b[31m', 'x'.repeat(1025)]) {
      await expectAppError(quarantines.put(WEB, { ...write, reason }), 'invalid', /The reason must have/);
      await expectAppError(quarantines.release('none', { ...write, reason }), 'invalid', /The reason must have/);
    }
  });

  it('a release of what there is not is not-found', async () => {
    const { quarantines } = await start(bench);
    await expectAppError(quarantines.release('none', write), 'not-found', 'There is no such quarantine.');
    await expectAppError(quarantines.get('none'), 'not-found', 'There is no such quarantine.');
  });

  it('identities of other trust domains and agents can be cut off too', async () => {
    const { quarantines } = await start(bench);
    const foreign = 'spiffe://partner.test/ns/bank/sa/ledger';
    const agent = 'spiffe://example.org/writ/agent/join_token/a';
    expect((await quarantines.put(foreign, write)).created).toBe(true);
    expect((await quarantines.put(agent, write)).created).toBe(true);
  });

  it('lists page by page, the newest first', async () => {
    const { quarantines, clock } = await start(bench);
    for (let i = 0; i < 5; i++) {
      await clock.advance(1);
      await quarantines.put(`${WEB}-${i}`, write);
    }
    const first = await quarantines.list({ limit: 3 });
    const rest = await quarantines.list({ limit: 3, cursor: first.nextCursor ?? '' });
    expect([...first.items, ...rest.items].map((each) => each.spiffeId.at(-1))).toEqual(['4', '3', '2', '1', '0']);
    expect(rest.nextCursor).toBeNull();
  });

  it(`there are at most ${MAX_QUARANTINED} at a time`, async () => {
    const { quarantines, store } = await start(bench);
    const row = (i: number) => ({
      id: `0199aaaa-0000-7000-8000-${String(i).padStart(12, '0')}`,
      spiffe_id: `${WEB}-${i}`,
      reason: 'r',
      author: 'a',
      created_at: 0,
      release_reason: null,
      released_by: null,
      released_at: null,
      revision: 1,
    });
    await store.transaction(async (trx) => {
      const rows = Array.from({ length: MAX_QUARANTINED }, (_, i) => row(i));
      for (let i = 0; i < rows.length; i += 250) {
        await trx
          .insertInto('quarantines')
          .values(rows.slice(i, i + 250))
          .execute();
      }
    });
    await expectAppError(quarantines.put(WEB, write), 'exhausted', /1000 identities are in quarantine/);
    // One that is in it already is none more.
    expect((await quarantines.put(`${WEB}-7`, write)).created).toBe(false);
  });
});
