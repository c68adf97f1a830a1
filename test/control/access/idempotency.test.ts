import { expect, it } from 'vitest';
import type { IdempotentRequest } from '../../../src/control/access/idempotency.ts';
import { IdempotencyKeys } from '../../../src/control/access/idempotency.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';

const hour = 60 * 60 * 1000;
const secret = 'wjt_what-nobody-else-may-learn';

function asked(change: Partial<IdempotentRequest> = {}): IdempotentRequest {
  const parts = ['POST', '/v1/things', '{}'];
  return { caller: 'admin', credential: 'writ_the-token-of-the-admin', key: 'key-1', parts, ...change };
}

async function setUp(stores: StoreBench) {
  const clock = new FakeClock();
  const database = await stores.database();
  const store = await stores.open(database, { clock });
  const open = (other: Store = store, maxKeys?: number) =>
    new IdempotencyKeys({ store: other, clock, ...(maxKeys !== undefined && { maxKeys }) });
  return { clock, store, keys: open(), open, replica: () => stores.open(database, { clock }) };
}

async function claim(keys: IdempotencyKeys, change: Partial<IdempotentRequest> = {}) {
  const begun = await keys.begin(asked(change));
  if (begun.state !== 'claimed') throw new Error('answered already');
  return begun.claim;
}

const rows = (store: Store) => store.db.selectFrom('idempotency_keys').selectAll().execute();

describeEachStore('An idempotency key', (stores) => {
  it('gives the first answer again, from any replica and after a restart', async () => {
    const { store, keys, open, replica } = await setUp(stores);
    const { complete } = await claim(keys);
    await store.transaction((trx) => complete(trx, secret));
    expect(await keys.begin(asked())).toEqual({ state: 'answered', answer: secret });
    if (stores.kind === 'postgres')
      expect(await open(await replica()).begin(asked())).toEqual({ state: 'answered', answer: secret });
    expect(await open().begin(asked())).toEqual({ state: 'answered', answer: secret });
  });

  it('leaves nothing in the database that tells the answer, the request, the key or the token', async () => {
    const { store, keys } = await setUp(stores);
    const { complete } = await claim(keys, { parts: ['POST', '/v1/things', 'what-was-asked'] });
    await store.transaction((trx) => complete(trx, secret));
    const [row, ...others] = await rows(store);
    expect(others).toEqual([]);
    const texts = Object.values(row ?? {}).flatMap((value) => [
      String(value),
      Buffer.from(String(value), 'base64').toString('latin1'),
      Buffer.from(String(value), 'hex').toString('latin1'),
    ]);
    for (const hidden of [secret, 'what-was-asked', 'key-1', asked().credential])
      expect(texts.filter((text) => text.includes(hidden))).toEqual([]);
  });

  it('is refused for another request, and for another token, before and after the answer', async () => {
    const { store, keys } = await setUp(stores);
    const { complete } = await claim(keys);
    const others: readonly Partial<IdempotentRequest>[] = [
      { parts: ['POST', '/v1/things', '{"a":1}'] },
      { parts: ['POST', '/v1/thing', 's{}'] },
      { parts: ['POST', '/v1/things'] },
      { credential: 'writ_another-token-of-the-admin' },
    ];
    for (const other of others) await expectAppError(keys.begin(asked(other)), 'idempotency-mismatch', /another token/);
    await store.transaction((trx) => complete(trx, secret));
    for (const other of others) await expectAppError(keys.begin(asked(other)), 'idempotency-mismatch');
  });

  it('is of one caller: of another it is another key', async () => {
    const { keys } = await setUp(stores);
    await claim(keys);
    await claim(keys, { caller: 'somebody' });
  });

  it('is in flight until the answer is there, or the claim has ended with its process a minute later', async () => {
    const { clock, store, keys } = await setUp(stores);
    const first = await claim(keys);
    const error = await expectAppError(keys.begin(asked()), 'idempotency-in-flight', /is being carried out/);
    expect(error.retryAfterSeconds).toBe(5);
    await clock.advance(59_999);
    await expectAppError(keys.begin(asked()), 'idempotency-in-flight');
    await clock.advance(1);
    const second = await claim(keys);
    // The first was not dead after all: it must not have an effect any more.
    const late = store.transaction(async (trx) => {
      await trx.insertInto('meta').values({ key: 'late', value: 'x' }).execute();
      await first.complete(trx, 'late');
    });
    await expectAppError(late, 'idempotency-in-flight');
    expect(await store.db.selectFrom('meta').selectAll().where('key', '=', 'late').execute()).toEqual([]);
    await first.release();
    await store.transaction((trx) => second.complete(trx, secret));
    expect(await keys.begin(asked())).toEqual({ state: 'answered', answer: secret });
  });

  it('is claimed by one of many at the same time', async () => {
    const { keys } = await setUp(stores);
    const all = await Promise.allSettled(Array.from({ length: 8 }, () => keys.begin(asked())));
    expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const one of all)
      if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'idempotency-in-flight' });
  });

  it('is free again after a failure, but not once it is answered', async () => {
    const { store, keys } = await setUp(stores);
    await (await claim(keys)).release();
    expect(await rows(store)).toEqual([]);
    const again = await claim(keys);
    await store.transaction((trx) => again.complete(trx, secret));
    await again.release();
    expect(await keys.begin(asked())).toEqual({ state: 'answered', answer: secret });
  });

  it('has no answer when the change is rolled back', async () => {
    const { store, keys } = await setUp(stores);
    const { complete } = await claim(keys);
    const failed = store.transaction(async (trx) => {
      await complete(trx, secret);
      throw new Error('rolled back');
    });
    await expect(failed).rejects.toThrow('rolled back');
    expect((await rows(store)).map((row) => row.answer)).toEqual([null]);
  });

  it('is kept for 24 hours, and is then gone with its answer', async () => {
    const { clock, store, keys } = await setUp(stores);
    const { complete } = await claim(keys);
    await store.transaction((trx) => complete(trx, secret));
    clock.jump(24 * hour - 1);
    expect((await keys.begin(asked())).state).toBe('answered');
    clock.jump(1);
    await claim(keys, { key: 'key-2' });
    expect(await rows(store)).toHaveLength(1);
    await claim(keys);
  });

  it('is one of a limited number per caller', async () => {
    const { clock, open } = await setUp(stores);
    const keys = open(undefined, 2);
    await claim(keys, { key: 'a' });
    await claim(keys, { key: 'b' });
    await expectAppError(keys.begin(asked({ key: 'c' })), 'exhausted', /^2 idempotency keys of yours/);
    await claim(keys, { key: 'c', caller: 'somebody' });
    clock.jump(24 * hour);
    await claim(keys, { key: 'c' });
  });

  it('opens no answer that was changed in the database', async () => {
    const { store, keys } = await setUp(stores);
    for (const key of ['a', 'b']) {
      const { complete } = await claim(keys, { key });
      await store.transaction((trx) => complete(trx, `answer of ${key}`));
    }
    const [one, other] = await rows(store);
    if (one === undefined || other === undefined) throw new Error('two rows were expected');
    const change = store.db.updateTable('idempotency_keys').where('key_hash', '=', one.key_hash);
    await change.set({ answer: other.answer }).execute();
    const results = await Promise.allSettled(['a', 'b'].map((key) => keys.begin(asked({ key }))));
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    for (const result of results)
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'incompatible-data' });
    await store.db.updateTable('idempotency_keys').set({ answer: 'AAAA' }).execute();
    await expectAppError(keys.begin(asked({ key: 'b' })), 'incompatible-data', /is damaged/);
  });

  it.each(['', 'a b', 'ä', 'a\n', 'x'.repeat(256)])('is not %j', async (key) => {
    const { keys } = await setUp(stores);
    await expectAppError(keys.begin(asked({ key })), 'invalid', /1 to 255 visible ASCII/);
  });
});
