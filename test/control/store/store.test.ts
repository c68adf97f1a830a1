import { sql } from 'kysely';
import { expect, it } from 'vitest';
import type { Store } from '../../../src/control/store/store.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { describeEachStore } from '../../support/stores.ts';

async function put(store: Store, key: string, value: string): Promise<number> {
  return await store.transaction(async (trx) => {
    await trx.insertInto('meta').values({ key, value }).execute();
    return await store.nextRevision(trx);
  });
}

async function read(store: Store, key: string): Promise<string | undefined> {
  const row = await store.db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst();
  return row?.value;
}

/** Adds one, with room for others between reading and writing. */
async function increment(store: Store): Promise<void> {
  await store.transaction(async (trx) => {
    const row = await trx.selectFrom('meta').select('value').where('key', '=', 'count').executeTakeFirstOrThrow();
    await new Promise((resolve) => setImmediate(resolve));
    await trx
      .updateTable('meta')
      .set({ value: String(Number(row.value) + 1) })
      .where('key', '=', 'count')
      .execute();
  });
}

describeEachStore('A store', (stores) => {
  it('begins at revision 0, and finds its data and revision again', async () => {
    const database = await stores.database();
    const first = await stores.open(database);
    expect(first.revision.current).toBe(0);
    await put(first, 'a', '1');
    await first.close();

    const second = await stores.open(database);
    expect(second.revision.current).toBe(1);
    expect(await read(second, 'a')).toBe('1');
  });

  it('shows a committed revision at once, each one greater than the one before', async () => {
    const store = await stores.open();
    const seen: number[] = [];
    store.revision.subscribe((revision) => seen.push(revision));
    expect([await put(store, 'a', '1'), await put(store, 'b', '1')]).toEqual([1, 2]);
    expect(seen).toEqual([1, 2]);
  });

  it('stores nothing and shows no revision of a transaction that throws', async () => {
    const store = await stores.open();
    const failing = store.transaction(async (trx) => {
      await trx.insertInto('meta').values({ key: 'a', value: '1' }).execute();
      await store.nextRevision(trx);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await read(store, 'a')).toBeUndefined();
    expect(store.revision.current).toBe(0);
    expect(await put(store, 'b', '1')).toBe(1);
  });

  it('loses no update when transactions run at the same time', async () => {
    const database = await stores.database();
    const replicas = [await stores.open(database), await stores.open(database)];
    await put(replicas[0] as Store, 'count', '0');
    await Promise.all(replicas.flatMap((store) => Array.from({ length: 10 }, () => increment(store))));
    expect(await read(replicas[0] as Store, 'count')).toBe('20');
  });

  it('gives each of many concurrent changes a revision of its own', async () => {
    const database = await stores.database();
    const replicas = [await stores.open(database), await stores.open(database)];
    const revisions = await Promise.all(
      replicas.flatMap((store, replica) => Array.from({ length: 10 }, (_, i) => put(store, `${replica}.${i}`, ''))),
    );
    expect(revisions.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  it("sees another replica's change within a second by polling", async () => {
    const database = await stores.database();
    const clock = new FakeClock();
    const writer = await stores.open(database);
    const reader = await stores.open(database, { clock });
    await put(writer, 'a', '1');
    const changed = reader.revision.next(reader.revision.version - 1);
    await clock.advance(1000);
    await changed;
    await expect.poll(() => reader.revision.current, { timeout: 10_000 }).toBe(1);
  });

  it('never goes back, also when the database does', async () => {
    const clock = new FakeClock();
    const store = await stores.open(undefined, { clock });
    for (const key of ['a', 'b', 'c']) await put(store, key, '');
    await store.db.updateTable('feed').set({ head: 1 }).where('id', '=', 1).execute();
    const { version } = store.revision;
    await clock.advance(1000);
    await store.db.selectFrom('feed').selectAll().execute();
    await clock.advance(1000);
    expect([store.revision.current, store.revision.version]).toEqual([3, version]);
  });

  it('goes on polling after a failure', async () => {
    const database = await stores.database();
    const clock = new FakeClock();
    const writer = await stores.open(database);
    const reader = await stores.open(database, { clock });
    await writer.transaction((trx) => sql`alter table feed rename to feed_away`.execute(trx));
    await clock.advance(1000);
    await writer.transaction((trx) => sql`alter table feed_away rename to feed`.execute(trx));
    await put(writer, 'a', '1');
    await expect
      .poll(
        async () => {
          await clock.advance(1000);
          return reader.revision.current;
        },
        { timeout: 10_000 },
      )
      .toBe(1);
  });

  it('keeps integers up to 2^53 exact and byte strings as Buffers', async () => {
    const store = await stores.open();
    await store.db.updateTable('feed').set({ head: Number.MAX_SAFE_INTEGER }).where('id', '=', 1).execute();
    const { head } = await store.db.selectFrom('feed').select('head').executeTakeFirstOrThrow();
    expect(head).toBe(Number.MAX_SAFE_INTEGER);

    const literal = store.kind === 'sqlite' ? sql<Buffer>`x'00ff'` : sql<Buffer>`'\\x00ff'::bytea`;
    const { bytes } = await store.db.selectNoFrom(literal.as('bytes')).executeTakeFirstOrThrow();
    expect(bytes).toEqual(Buffer.from([0, 255]));
  });

  it('sorts text by its bytes', async () => {
    const store = await stores.open();
    for (const key of ['ä', 'b', 'B', '_', 'a.b', 'a-b']) await put(store, key, '');
    const rows = await store.db.selectFrom('meta').select('key').where('value', '=', '').orderBy('key').execute();
    expect(rows.map((row) => row.key)).toEqual(['B', '_', 'a-b', 'a.b', 'b', 'ä']);
  });

  it('refuses an integer beyond 2^53 instead of rounding it', async () => {
    const store = await stores.open();
    await sql`update feed set head = 9007199254740993`.execute(store.db);
    await expect(store.db.selectFrom('feed').select('head').execute()).rejects.toThrow(/too large|beyond 2\^53/);
  });

  it('gives cursors that its replicas take', async () => {
    const database = await stores.database();
    const [one, two] = [await stores.open(database), await stores.open(database)];
    expect(two.cursors.open('things', one.cursors.seal('things', ['a', 1]))).toEqual(['a', 1]);
    const other = await stores.open();
    await expectAppError(
      () => other.cursors.open('things', one.cursors.seal('things', ['a', 1])),
      'invalid-cursor',
      /cursor/,
    );
  });

  it('can be closed twice, and then refuses work', async () => {
    const store = await stores.open();
    await store.close();
    await store.close();
    await expect(put(store, 'a', '1')).rejects.toThrow();
  });
});
