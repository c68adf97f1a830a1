import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { JoinTokens } from '../../../../src/control/authority/attest/join-token.ts';
import { Entries } from '../../../../src/control/authority/entries/entries.ts';
import type { StoreOptions } from '../../../../src/control/store/store.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import type { StoreBench } from '../../../support/stores.ts';
import { describeEachStore } from '../../../support/stores.ts';

const trustDomain = 'example.org';
const refusal =
  'The join token is not known, or was used, or has expired. Ask for a new one: each is good for one enrollment.';

async function setUp(stores: StoreBench, database?: StoreOptions) {
  const store = await stores.open(database);
  const clock = new FakeClock();
  const entries = new Entries({ store, trustDomain, clock });
  const entry =
    (await entries.bySpiffeId('spiffe://example.org/ns/shop/sa/web')) ??
    (await entries.create({ spiffeId: 'spiffe://example.org/ns/shop/sa/web', labels: { app: 'web' } }));
  const tokens = new JoinTokens({ store, clock });
  /** As an attestation does: finds it, and uses it up in one transaction. */
  const redeem = async (token: string) => {
    const found = await tokens.find(token);
    await store.transaction(tokens.use(found.id));
    return found.entry;
  };
  return { store, clock, entries, entry, tokens, redeem };
}

describeEachStore('A join token', (stores) => {
  it('is shown once; only its SHA-256 is stored', async () => {
    const { store, tokens, entry, clock } = await setUp(stores);
    const created = await tokens.create({ entryId: entry.id });
    expect(created).toEqual({
      id: expect.any(String),
      token: expect.stringMatching(/^wjt_[A-Za-z0-9_-]{43}$/),
      entryId: entry.id,
      createdAt: clock.now(),
      expiresAt: clock.now() + 600_000,
      usedAt: null,
    });
    const rows = await store.db.selectFrom('join_tokens').selectAll().execute();
    expect(rows.map((row) => row.token_hash)).toEqual([createHash('sha256').update(created.token).digest('hex')]);
    expect(JSON.stringify(rows)).not.toContain(created.token.slice(4));
    const { token: _, ...shown } = created;
    expect((await tokens.list()).items).toEqual([shown]);
  });

  it('buys its entry once', async () => {
    const { tokens, redeem, entry, clock } = await setUp(stores);
    const { token } = await tokens.create({ entryId: entry.id });
    await clock.advance(1000);
    expect(await redeem(token)).toEqual(entry);
    await expectAppError(redeem(token), 'join-token-refused', refusal);
    expect((await tokens.list()).items.map((item) => item.usedAt)).toEqual([clock.now()]);
  });

  it('is won by exactly one of twenty who present it at the same time, on two replicas', async () => {
    const database = await stores.database();
    const one = await setUp(stores, database);
    const two = await setUp(stores, database);
    const { token } = await one.tokens.create({ entryId: one.entry.id });
    const replicas = Array.from({ length: 10 }, () => [one, two]).flat();
    const results = await Promise.allSettled(replicas.map((replica) => replica.redeem(token)));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected')
        expect(result.reason).toMatchObject({ code: 'join-token-refused', message: refusal });
    }
  });

  it('is good until just before it expires', async () => {
    const { tokens, redeem, entry, clock } = await setUp(stores);
    const early = await tokens.create({ entryId: entry.id, ttlSeconds: 60 });
    const late = await tokens.create({ entryId: entry.id, ttlSeconds: 60 });
    await clock.advance(59_999);
    expect(await redeem(early.token)).toEqual(entry);
    await clock.advance(1);
    await expectAppError(redeem(late.token), 'join-token-refused', refusal);
  });

  it('that nobody made is refused', async () => {
    const { redeem } = await setUp(stores);
    for (const token of ['', 'wjt_', `wjt_${'A'.repeat(43)}`, 'x'.repeat(1_000_000), '\0', "' or 1=1 --"]) {
      await expectAppError(redeem(token), 'join-token-refused', refusal);
    }
  });

  it('is worth nothing once it or its entry is deleted', async () => {
    const { tokens, redeem, entries, entry } = await setUp(stores);
    const [one, two] = [await tokens.create({ entryId: entry.id }), await tokens.create({ entryId: entry.id })];
    await tokens.delete(one.id);
    await expectAppError(redeem(one.token), 'join-token-refused', refusal);
    await expectAppError(tokens.delete(one.id), 'not-found', 'There is no join token with this id.');
    await entries.delete(entry.id, entry.revision);
    await expectAppError(redeem(two.token), 'join-token-refused', refusal);
    expect((await tokens.list()).items).toEqual([]);
  });

  it('belongs to an entry that exists, and lives at most a day', async () => {
    const { tokens, entry } = await setUp(stores);
    await expectAppError(tokens.create({ entryId: 'nobody' }), 'not-found', /no entry with this id/);
    for (const ttlSeconds of [0, -1, 86_401, 1.5]) {
      await expectAppError(
        tokens.create({ entryId: entry.id, ttlSeconds }),
        'invalid',
        'ttlSeconds must be a whole number from 1 to 86400.',
      );
    }
  });

  it('is worth nothing once its entry has expired', async () => {
    const { entries, clock, tokens, redeem } = await setUp(stores);
    const entry = await entries.create({ spiffeId: 'spiffe://example.org/brief', expiresAt: clock.now() + 1000 });
    const { token } = await tokens.create({ entryId: entry.id });
    await clock.advance(1000);
    await expectAppError(redeem(token), 'join-token-refused', refusal);
  });

  it('is listed page by page, oldest first, until a day after it expired', async () => {
    const { tokens, entry, clock } = await setUp(stores);
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) {
      await clock.advance(1);
      ids.push((await tokens.create({ entryId: entry.id })).id);
    }
    const first = await tokens.list({ limit: 2 });
    const second = await tokens.list({ limit: 2, cursor: first.nextCursor });
    expect([...first.items, ...second.items].map((item) => item.id)).toEqual(ids);
    expect(second.nextCursor).toBeNull();

    await clock.advance(86_400_000 + 600_001);
    const { id } = await tokens.create({ entryId: entry.id });
    expect((await tokens.list()).items.map((item) => item.id)).toEqual([id]);
  });
});
