import { sql } from 'kysely';
import { expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { PolicyHistory } from '../../../src/control/policies/history.ts';
import { PolicyStore } from '../../../src/control/policies/store.ts';
import { migrations } from '../../../src/control/store/migrations.ts';
import type { Store } from '../../../src/control/store/store.ts';
import { migrate } from '../../../src/control/store/store.ts';
import { policyKindNames } from '../../../src/core/policy/kinds.ts';
import { peerModesFor } from '../../../src/core/policy/peer-modes.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { documentOf, policyKey } from '../../support/policies.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';

async function open(store: Store) {
  const policies = await PolicyStore.open({ store, clock: new FakeClock(), logger: silentLogger });
  onTestFinished(() => policies.close());
  return policies;
}

async function setUp(stores: StoreBench) {
  const store = await stores.open();
  const policies = await open(store);
  const reached = (revision: number) =>
    expect.poll(() => policies.current.current.revision, { timeout: 10_000, interval: 5 }).toBe(revision);
  return { store, policies, history: new PolicyHistory(store), reached };
}

const author = 'ann';
const key = { namespace: 'shop', name: 'web' };

describeEachStore('The store of every kind', (stores) => {
  it('keeps one object of a name of each kind, each in a list of its own', async () => {
    const { store, policies, reached } = await setUp(stores);
    for (const [index, kind] of policyKindNames.entries()) {
      const { policy, created } = await policies.put({ source: documentOf(kind, 'web'), author });
      expect([policy.kind, policy.revision, policy.object.revision, created]).toEqual([
        kind,
        index + 1,
        index + 1,
        true,
      ]);
      expect(await policies.get({ kind, ...key })).toEqual(policy);
    }
    await reached(4);
    const { current } = policies.current;
    expect(
      [current.policies, current.requestAuthentications, current.peerAuthentications, current.rateLimits].map((list) =>
        list.map(({ name, revision }) => `${name}@${revision}`),
      ),
    ).toEqual([['web@1'], ['web@2'], ['web@3'], ['web@4']]);
    for (const kind of policyKindNames) {
      expect((await policies.list({ kind })).items.map((item) => item.kind)).toEqual([kind]);
    }
    // A start reads the rows, and not the changes.
    expect((await open(store)).current.current).toEqual(current);
  });

  it('rule 51: of two peer authentications of one scope the one that was made first counts, however often it is written again', async () => {
    const { store, policies, reached } = await setUp(stores);
    const put = (name: string, mode: string, reason: string, ifMatch?: '*') =>
      policies.put({
        source: `${documentOf('PeerAuthentication', name).replace('STRICT', mode)}# ${reason}\n`,
        author,
        ifMatch,
      });
    const modeIn = ({ policies: { current } }: { policies: PolicyStore }) =>
      peerModesFor({ namespace: 'shop', labels: { app: 'a' } }, current.current.peerAuthentications, 'root').mode;
    await put('first', 'STRICT', 'made');
    await put('second', 'PERMISSIVE', 'made');
    await put('first', 'STRICT', 'written again', '*');
    await reached(3);
    expect(modeIn({ policies })).toBe('STRICT');
    // A start knows it too.
    expect(modeIn({ policies: await open(store) })).toBe('STRICT');
    // One that was deleted is made anew.
    await policies.delete({ kind: 'PeerAuthentication', namespace: 'shop', name: 'first', author });
    await put('first', 'STRICT', 'made anew');
    await reached(5);
    expect(modeIn({ policies })).toBe('PERMISSIVE');
    expect(modeIn({ policies: await open(store) })).toBe('PERMISSIVE');
  });

  it('changes and deletes an object of one kind, and leaves its namesakes alone', async () => {
    const { policies, history, reached } = await setUp(stores);
    for (const kind of policyKindNames) await policies.put({ source: documentOf(kind, 'web'), author });
    await policies.put({ source: documentOf('RateLimit', 'web', { mark: 'b' }), author, ifMatch: 4 });
    await policies.delete({ kind: 'PeerAuthentication', ...key, author, ifMatch: 3 });
    await reached(6);
    expect(policies.current.current).toMatchObject({
      policies: [{ revision: 1 }],
      requestAuthentications: [{ revision: 2 }],
      peerAuthentications: [],
      rateLimits: [{ revision: 5, selector: { app: 'b' } }],
    });
    await expectAppError(
      policies.get({ kind: 'PeerAuthentication', ...key }),
      'not-found',
      /^There is no peer authentication shop\/web\./,
    );
    expect((await history.list({ kind: 'RateLimit', ...key })).items.map(({ revision }) => revision)).toEqual([5, 4]);
    expect(await history.get({ kind: 'RateLimit', ...key }, 5)).toMatchObject({ previous: 4, kind: 'RateLimit' });
    await expectAppError(history.get({ kind: 'RateLimit', ...key }, 1), 'not-found', /rate-limit\/shop\/web/);
    expect((await history.list()).items).toHaveLength(6);
  });

  it('rolls an object back among the revisions of its own kind', async () => {
    const { policies } = await setUp(stores);
    await policies.put({ source: documentOf('AuthorizationPolicy', 'web'), author });
    await policies.put({ source: documentOf('RateLimit', 'web'), author });
    const back = { ...key, author, reason: 'x', ifMatch: '*' } as const;
    await expectAppError(policies.rollBack({ ...back, kind: 'RateLimit', to: 1 }), 'not-found', /no revision 1/);
    await expectAppError(policies.rollBack({ ...back, kind: 'PeerAuthentication', to: 1 }), 'not-found');
    await policies.delete({ kind: 'RateLimit', ...key, author });
    const { policy, created } = await policies.rollBack({ ...back, kind: 'RateLimit', to: 2 });
    expect([policy.kind, policy.revision, created]).toEqual(['RateLimit', 4, true]);
  });

  it('writes objects of several kinds together, or none of them', async () => {
    const { policies, reached } = await setUp(stores);
    const put = (kind: (typeof policyKindNames)[number]) =>
      ({ operation: 'put', source: documentOf(kind, 'web'), replaces: null }) as const;
    const writes = policyKindNames.map(put);
    const late = { operation: 'delete', kind: 'RateLimit', ...key, replaces: 9 } as const;
    await expectAppError(policies.writeAll({ writes: [...writes, late], author, reason: 'x' }), 'precondition-failed');
    expect((await policies.list({ kind: 'AuthorizationPolicy' })).items).toEqual([]);
    const { revision } = await policies.writeAll({ writes, author, reason: 'x' });
    await reached(revision);
    expect(policies.current.current.peerAuthentications).toHaveLength(1);
  });

  it('refuses a document of another kind than the one that is asked for', async () => {
    const { policies } = await setUp(stores);
    await expectAppError(
      policies.put({ source: documentOf('RateLimit', 'web'), author, ...policyKey('shop', 'web') }),
      'invalid',
      /^The document is the rate limit shop\/web, not the policy shop\/web\./,
    );
  });

  it('takes over the policies and history of the version before, with their revisions', async () => {
    const database = await stores.database();
    const before = await stores.open(database, { migrations: migrations.slice(0, 11) });
    const source = documentOf('AuthorizationPolicy', 'web', { labels: '{ a: b }' });
    await before.transaction(async (trx) => {
      await before.nextRevision(trx);
      await sql`insert into policies (namespace, name, revision, source, created_at, updated_at, updated_by, labels)
        values ('shop', 'web', 1, ${source}, 5, 6, 'ann', '{"a":"b"}')`.execute(trx);
      await sql`insert into policy_revisions (revision, namespace, name, operation, source, author, time)
        values (1, 'shop', 'web', 'put', ${source}, 'ann', 5)`.execute(trx);
    });
    await before.close();
    await migrate(database, { clock: systemClock, logger: silentLogger });

    const store = await stores.open(database);
    const policies = await open(store);
    expect(await policies.get(policyKey('shop', 'web'))).toMatchObject({
      kind: 'AuthorizationPolicy',
      revision: 1,
      source,
      labels: { a: 'b' },
      createdAt: 5,
      updatedAt: 6,
      updatedBy: 'ann',
    });
    expect((await new PolicyHistory(store).list()).items).toMatchObject([{ kind: 'AuthorizationPolicy', revision: 1 }]);
    await policies.put({ source: documentOf('RateLimit', 'web'), author });
    await policies.put({ source: documentOf('AuthorizationPolicy', 'web', { mark: 'b' }), author, ifMatch: 1 });
  });
});
