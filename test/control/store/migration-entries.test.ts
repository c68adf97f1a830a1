import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { Entries } from '../../../src/control/authority/entries/entries.ts';
import { migrations } from '../../../src/control/store/migrations.ts';
import { migrate } from '../../../src/control/store/store.ts';
import { expectAppError } from '../../support/errors.ts';
import { describeEachStore } from '../../support/stores.ts';

const web = 'spiffe://example.org/ns/shop/sa/web';
const id = '019b7d5c-0000-7000-8000-000000000001';

describeEachStore('The schema of entries', (stores) => {
  it('takes over the entries and join tokens of the version before, and lets go of one entry per SPIFFE ID', async () => {
    const database = await stores.database();
    const before = await stores.open(database, { migrations: migrations.slice(0, 3) });
    await before.transaction(async (trx) => {
      await sql`insert into entries (id, spiffe_id, namespace, selectors, labels, x509_ttl_seconds, jwt_ttl_seconds,
        revision, created_at, updated_at) values (${id}, ${web}, 'shop', '["unix:uid:1","a:b"]', '{"app":"web"}', 600, null, 7, 8, 9)`.execute(
        trx,
      );
      await sql`insert into join_tokens (id, token_hash, entry_id, created_at, expires_at, used_at)
        values ('t', 'h', ${id}, 1, 2, null)`.execute(trx);
    });
    await before.close();
    await migrate(database, { clock: systemClock, logger: silentLogger });

    const store = await stores.open(database);
    const entries = new Entries({ store, trustDomain: 'example.org', clock: systemClock });
    const entry = await entries.get(id);
    expect(entry).toEqual({
      id,
      parentId: null,
      spiffeId: web,
      selectors: ['unix:uid:1', 'a:b'],
      namespaces: [],
      labels: { app: 'web' },
      x509TtlSeconds: 600,
      jwtTtlSeconds: null,
      dnsNames: [],
      federatesWith: [],
      hint: '',
      expiresAt: null,
      jwtClaims: null,
      revision: 7,
      createdAt: 8,
      updatedAt: 9,
    });
    expect((await entries.list({ namespace: 'shop' })).items).toEqual([entry]);
    const tokens = () => store.db.selectFrom('join_tokens').select(['id', 'entry_id']).execute();
    expect(await tokens()).toEqual([{ id: 't', entry_id: id }]);

    // The one that was taken over counts among those that there may be one of.
    await expectAppError(
      entries.create({ spiffeId: web, selectors: ['a:b', 'unix:uid:1'] }),
      'conflict',
      /has an entry already/,
    );
    await entries.create({ spiffeId: web, selectors: ['unix:uid:2'] });
    const changed = await entries.update(id, { spiffeId: web, selectors: ['unix:uid:1', 'a:b'] }, '*');
    expect(changed.selectors).toEqual(['a:b', 'unix:uid:1']);
    await entries.delete(id, '*');
    expect(await tokens()).toEqual([]);
  });
});
