import { expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { JoinTokens } from '../../../src/control/authority/attest/join-token.ts';
import { Entries } from '../../../src/control/authority/entries/entries.ts';
import { PolicyStore } from '../../../src/control/policies/store.ts';
import { writer } from '../../../src/control/store/rehearse.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { policyKey } from '../../support/policies.ts';
import { describeEachStore } from '../../support/stores.ts';
import { document } from '../policies/documents.ts';

const dry = { dryRun: true };
const spiffeId = 'spiffe://example.org/ns/shop/sa/web';

describeEachStore('A dry run', (stores) => {
  it('returns what the write would return, and leaves every table and the revision as they were', async () => {
    const clock = new FakeClock();
    const store = await stores.open(undefined, { clock });
    const entries = new Entries({ store, trustDomain: 'example.org', clock });
    const tokens = new JoinTokens({ store, clock });
    const policies = await PolicyStore.open({ store, clock, logger: silentLogger });
    const entry = await entries.create({ spiffeId });
    const token = await tokens.create({ entryId: entry.id });
    await policies.put({ source: document('a', '/a'), author: 'admin' });
    const state = async () => [
      await store.db.selectFrom('entries').selectAll().execute(),
      await store.db.selectFrom('join_tokens').selectAll().execute(),
      await store.db.selectFrom('policies').selectAll().execute(),
      await store.db.selectFrom('policy_revisions').selectAll().execute(),
      await store.db.selectFrom('feed').selectAll().execute(),
    ];
    const before = await state();

    expect(await entries.create({ spiffeId: `${spiffeId}2` }, dry)).toMatchObject({ revision: 0 });
    expect(await entries.update(entry.id, { spiffeId, labels: { a: 'b' } }, '*', dry)).toMatchObject({ revision: 0 });
    expect(await entries.update(entry.id, { spiffeId }, '*', dry)).toEqual(entry);
    expect(await entries.delete(entry.id, '*', dry)).toEqual(entry);
    expect(await tokens.create({ entryId: entry.id }, dry)).toMatchObject({ entryId: entry.id });
    expect((await tokens.delete(token.id, dry)).id).toBe(token.id);
    const put = { source: document('b', '/b'), author: 'admin', ...dry };
    expect(await policies.put(put)).toMatchObject({ created: true, policy: { revision: 0 } });
    const gone = { ...policyKey('shop', 'a'), author: 'admin', ...dry };
    expect(await policies.delete(gone)).toEqual({ revision: 0 });
    await expectAppError(entries.create({ spiffeId }, dry), 'conflict');
    expect(await state()).toEqual(before);
    await policies.close();
  });

  it('does not disturb others, of which many may go on at the same time', async () => {
    const store = await stores.open();
    const row = { key: 'x', value: 'y' };
    const insert = () => writer(store, dry).transaction((trx) => trx.insertInto('meta').values(row).execute());
    await Promise.all(Array.from({ length: 8 }, insert));
    expect(await store.db.selectFrom('meta').selectAll().where('key', '=', 'x').execute()).toEqual([]);
  });
});
