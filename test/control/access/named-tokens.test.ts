import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { NamedTokens } from '../../../src/control/access/named-tokens.ts';
import { migrations } from '../../../src/control/store/migrations.ts';
import { migrate } from '../../../src/control/store/store.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';

async function setUp(stores: StoreBench, maxTokens?: number) {
  const clock = new FakeClock();
  const store = await stores.open(undefined, { clock });
  const tokens = new NamedTokens({ store, clock, ...(maxTokens !== undefined && { maxTokens }) });
  const make = (name: string, ttlSeconds = 3600) => tokens.create({ name, ttlSeconds, by: 'admin' });
  return { clock, store, tokens, make };
}

const day = 24 * 60 * 60;

describeEachStore('Tokens by name', (stores) => {
  it('authenticate as their name, until they expire', async () => {
    const { clock, tokens, make } = await setUp(stores);
    const made = await make('ann', 60);
    expect(made.token).toMatch(/^writ_[A-Za-z0-9_-]{43}$/);
    expect(await tokens.authenticate(made.token)).toEqual({ name: 'ann', role: 'admin', credential: made.id });
    await clock.advance(59_999);
    expect(await tokens.authenticate(made.token)).toEqual({ name: 'ann', role: 'admin', credential: made.id });
    await clock.advance(1);
    expect(await tokens.authenticate(made.token)).toBeUndefined();
  });

  it('have a role: the one that was asked for, or admin; one that this version does not know may do the least', async () => {
    const { store, tokens, make } = await setUp(stores);
    const auditor = await tokens.create({ name: 'sec', role: 'auditor', ttlSeconds: 60, by: 'admin' });
    const ann = await make('ann');
    expect([auditor.role, ann.role]).toEqual(['auditor', 'admin']);
    expect(await tokens.authenticate(auditor.token)).toMatchObject({ name: 'sec', role: 'auditor' });
    expect((await tokens.list()).items.map(({ role }) => role).sort()).toEqual(['admin', 'auditor']);
    expect((await tokens.get(auditor.id)).role).toBe('auditor');
    await expectAppError(
      tokens.create({ name: 'x', role: 'root' as never, ttlSeconds: 60, by: 'admin' }),
      'invalid',
      'The role must be one of admin, editor, auditor, viewer.',
    );
    await store.db.updateTable('admin_tokens').set({ role: 'superuser' }).execute();
    expect(await tokens.authenticate(ann.token)).toMatchObject({ role: 'viewer' });
    await expectAppError(tokens.get('nothing'), 'not-found', 'There is no token with this id.');
  });

  it('of before there were roles may do what they could', async () => {
    const database = await stores.database();
    const older = migrations.filter(({ name }) => name < '0015');
    const before = await stores.open(database, { migrations: older });
    const hash = createHash('sha256').update('old').digest('hex');
    await sql`insert into admin_tokens (id, name, token_hash, created_at, expires_at)
      values ('i', 'ann', ${hash}, 0, 9000000000000)`.execute(before.db);
    await before.close();
    await migrate(database, { clock: new FakeClock(), logger: silentLogger });
    const store = await stores.open(database);
    const tokens = new NamedTokens({ store, clock: new FakeClock() });
    expect(await tokens.authenticate('old')).toMatchObject({ name: 'ann', role: 'admin' });
  });

  it('are stored as a hash, and authenticate by nothing but themselves', async () => {
    const { store, tokens, make } = await setUp(stores);
    const { token } = await make('ann');
    const row = await store.db.selectFrom('admin_tokens').selectAll().executeTakeFirstOrThrow();
    expect(JSON.stringify(row)).not.toContain(token.slice(5));
    expect(JSON.stringify(await tokens.list())).not.toMatch(/hash|writ_/);
    for (const wrong of [
      '',
      'writ_',
      row.token_hash,
      `${token}x`,
      token.slice(0, -1),
      token.toUpperCase(),
      "' or 1=1 --",
    ])
      expect(await tokens.authenticate(wrong)).toBeUndefined();
  });

  it('say when they were last used, to the minute', async () => {
    const { clock, tokens, make } = await setUp(stores);
    const { token } = await make('ann');
    const used = async () => (await tokens.list()).items[0]?.lastUsedAt;
    expect(await used()).toBeNull();
    const first = clock.now();
    await tokens.authenticate(token);
    await clock.advance(59_999);
    await tokens.authenticate(token);
    expect(await used()).toBe(first);
    await clock.advance(1);
    await tokens.authenticate(token);
    expect(await used()).toBe(first + 60_000);
  });

  it('are made by the bootstrap token only', async () => {
    const { tokens } = await setUp(stores);
    await expectAppError(
      tokens.create({ name: 'bob', ttlSeconds: 60, by: 'ann' }),
      'forbidden',
      /^Only the admin token of the data directory makes tokens/,
    );
    expect((await tokens.list()).items).toEqual([]);
  });

  it.each(['', 'admin', 'writ', 'control-plane', 'Ann', 'ann ', '-ann', 'ann/', 'änn', 'a'.repeat(64), 'a\nb'])(
    'are refused the name %j',
    async (name) => {
      const { make } = await setUp(stores);
      await expectAppError(make(name), 'invalid', /^The name must be 1 to 63 lower-case letters/);
    },
  );

  it.each([59, 90 * day + 1, 60.5, Number.NaN, -1])('are refused %d seconds', async (ttlSeconds) => {
    const { make } = await setUp(stores);
    await expectAppError(make('ann', ttlSeconds), 'invalid', /^ttlSeconds must be a whole number from 60 to 7776000/);
  });

  it('are worth nothing once revoked, by their holder or the bootstrap token, and by nobody else', async () => {
    const { tokens, make } = await setUp(stores);
    const [one, two, bob] = [await make('ann'), await make('ann'), await make('bob')];
    await expectAppError(tokens.revoke(one.id, 'bob'), 'not-found', /no token with this id/);
    await tokens.revoke(one.id, 'ann', { dryRun: true });
    expect(await tokens.authenticate(one.token)).toMatchObject({ name: 'ann', credential: one.id });
    await tokens.revoke(one.id, 'ann');
    expect(await tokens.authenticate(one.token)).toBeUndefined();
    expect(await tokens.authenticate(two.token)).toMatchObject({ name: 'ann', credential: two.id });
    await tokens.revoke(bob.id, 'admin');
    expect(await tokens.authenticate(bob.token)).toBeUndefined();
    await expectAppError(tokens.revoke(bob.id, 'admin'), 'not-found', /no token/);
  });

  it('are listed page by page; expired ones for a week; and are bounded in number', async () => {
    const { clock, tokens, make } = await setUp(stores, 3);
    await make('a', 60);
    await clock.advance(1);
    await make('b', 30 * day);
    await clock.advance(1);
    await make('c', 30 * day);
    await expectAppError(make('d'), 'exhausted', /^There are 3 tokens already/);
    const page = await tokens.list({ limit: 2 });
    const rest = await tokens.list({ limit: 2, cursor: page.nextCursor });
    expect([...page.items, ...rest.items].map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    clock.jump(8 * day * 1000);
    await make('d');
    expect((await tokens.list()).items.map(({ name }) => name)).toEqual(['b', 'c', 'd']);
  });
});
