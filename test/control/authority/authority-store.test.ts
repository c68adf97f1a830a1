import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { prepared, withoutRecords, withRecords } from '../../../src/control/authority/authorities.ts';
import type { AuthorityStore } from '../../../src/control/authority/authority-store.ts';
import { MemoryAuthorities, SqlAuthorities } from '../../../src/control/authority/authority-store.ts';
import { defaultLifetimes } from '../../../src/control/authority/lifetimes.ts';
import { newRecord, tokenKeyMaterial } from '../../../src/control/authority/make-authority.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { expectAppError } from '../../support/errors.ts';
import { describeEachStore } from '../../support/stores.ts';

const now = Date.UTC(2026, 0, 1);
const lifetimes = defaultLifetimes;
const record = (id: string) => newRecord(id, 'jwt', { now, lifetimes });
const material = () => tokenKeyMaterial('jwt', generateKeyPair().publicKey, { now, lifetimes });

function suite(open: () => Promise<readonly [AuthorityStore, AuthorityStore]>): void {
  it('gives back what was stored, to every replica', async () => {
    const [a, b] = await open();
    expect(await a.read()).toEqual({ sequence: 0, records: [] });
    const root = { ...record('r'), kind: 'x509' as const, keyName: null, certificate: Buffer.from('der'), soon: true };
    const stored = await a.change((set) => prepared(withRecords(set, [root, record('j')], now), 'j', material(), now));
    expect(stored.records.map(({ id, state }) => `${id} ${state}`)).toEqual(['j prepared', 'r new']);
    expect(await b.read()).toEqual(stored);
    await b.change((set) => withoutRecords(set, ['j'], now));
    expect((await a.read()).records).toEqual([root]);
  });

  it('stores nothing of a change that is refused, and makes no change of none', async () => {
    const [a] = await open();
    await a.change((set) => withRecords(set, [record('j')], now));
    const before = a.changes.current;
    await expectAppError(
      a.change(() => {
        throw new AppError('conflict', 'no');
      }),
      'conflict',
      'no',
    );
    await a.change((set) => set);
    expect((await a.read()).records).toHaveLength(1);
    expect(a.changes.current).toBe(before);
  });

  it('says that there is a change', async () => {
    const [a] = await open();
    const before = a.changes.version;
    await a.change((set) => withRecords(set, [record('j')], now));
    expect(a.changes.version).toBeGreaterThan(before);
  });

  it('decides on what is stored at that moment: of two that prepare at once, one is refused', async () => {
    const [a, b] = await open();
    await a.change((set) => withRecords(set, [record('1'), record('2')], now));
    const results = await Promise.allSettled([
      a.change((set) => prepared(set, '1', material(), now)),
      b.change((set) => prepared(set, '2', material(), now)),
    ]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect((await a.read()).records.map(({ state }) => state).sort()).toEqual(['new', 'prepared']);
  });

  it('loses no change: what many add at once is all there, and the bundle counts every one', async () => {
    const [a, b] = await open();
    const ids = Array.from({ length: 12 }, (_, i) => String(i).padStart(2, '0'));
    await Promise.all(
      ids.map((id, i) =>
        (i % 2 === 0 ? a : b).change((set) => withRecords(set, [{ ...record(id), ...material(), state: 'old' }], now)),
      ),
    );
    const set = await a.read();
    expect(set.records.map(({ id }) => id)).toEqual(ids);
    expect(new Set(set.records.map(({ sequence }) => sequence)).size).toBe(ids.length);
  });
}

describe('authorities in memory', () => {
  suite(async () => {
    const store = new MemoryAuthorities();
    return [store, store];
  });
});

describeEachStore('authorities', (bench) => {
  suite(async () => {
    const database = await bench.database();
    return [new SqlAuthorities(await bench.open(database)), new SqlAuthorities(await bench.open(database))];
  });
});
