import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { PolicyStore } from '../../../src/control/policies/store.ts';
import type { Store, StoreOptions } from '../../../src/control/store/store.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { policyKey, policySet } from '../../support/policies.ts';
import type { StoreBench } from '../../support/stores.ts';
import { describeEachStore } from '../../support/stores.ts';
import { document } from './documents.ts';

const author = 'admin';

async function openPolicies(store: Store, clock = new FakeClock()): Promise<PolicyStore> {
  const policies = await PolicyStore.open({ store, clock, logger: silentLogger });
  onTestFinished(() => policies.close());
  return policies;
}

async function setUp(stores: StoreBench, database?: StoreOptions) {
  const store = await stores.open(database);
  const clock = new FakeClock();
  return { store, clock, policies: await openPolicies(store, clock) };
}

/** The names and revisions of `current`, once it has reached `revision`. */
async function reached(policies: PolicyStore, revision: number): Promise<readonly string[]> {
  await expect.poll(() => policies.current.current.revision, { timeout: 10_000, interval: 5 }).toBe(revision);
  return policies.current.current.policies.map((each) => `${each.namespace}/${each.name}@${each.revision}`);
}

async function history(store: Store) {
  return await store.db.selectFrom('policy_revisions').selectAll().orderBy('revision').execute();
}

describeEachStore('The policy store', (stores) => {
  it('begins empty, at revision 0', async () => {
    const { policies } = await setUp(stores);
    expect(policies.current.current).toEqual(policySet());
    expect(await policies.list({ kind: 'AuthorizationPolicy' })).toEqual({ items: [], nextCursor: null, revision: 0 });
  });

  it('keeps a policy with its source and the lines of its rules', async () => {
    const { policies, clock } = await setUp(stores);
    const source = document('web', '/a');
    const { policy, created } = await policies.put({ source, author });
    expect(created).toBe(true);
    expect(policy).toMatchObject({
      namespace: 'shop',
      name: 'web',
      revision: 1,
      ruleLines: [9],
      createdAt: clock.now(),
      updatedAt: clock.now(),
      updatedBy: author,
      kind: 'AuthorizationPolicy',
      object: { namespace: 'shop', name: 'web', revision: 1, action: 'ALLOW' },
    });
    expect(policy.source.trim()).toBe(source.trim());
    expect(await policies.get(policyKey('shop', 'web'))).toEqual(policy);
    expect(await reached(policies, 1)).toEqual(['shop/web@1']);
    expect(policies.current.current.policies).toEqual([policy.object]);
  });

  it('replaces a policy at the revision that the caller names, and keeps when it was made', async () => {
    const { policies, clock } = await setUp(stores);
    const { policy: before } = await policies.put({ source: document('web', '/a'), author });
    await clock.advance(1000);
    const { policy, created } = await policies.put({ source: document('web', '/b'), author: 'ci', ifMatch: 1 });
    expect(created).toBe(false);
    expect(policy).toMatchObject({
      revision: 2,
      createdAt: before.createdAt,
      updatedAt: clock.now(),
      updatedBy: 'ci',
      object: { revision: 2 },
    });
    expect(await policies.get(policyKey('shop', 'web'))).toEqual(policy);
    expect(await reached(policies, 2)).toEqual(['shop/web@2']);
  });

  it('replaces whatever is there for a caller who says *', async () => {
    const { policies } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author });
    const { policy } = await policies.put({ source: document('web', '/b'), author, ifMatch: '*' });
    expect(policy.revision).toBe(2);
  });

  it('makes no new revision of the same text', async () => {
    const { policies, store, clock } = await setUp(stores);
    const source = document('web', '/a');
    const { policy } = await policies.put({ source, author });
    await clock.advance(1000);
    for (const ifMatch of [undefined, 1, '*'] as const) {
      expect(await policies.put({ source, author: 'ci', ifMatch })).toEqual({ policy, created: false });
    }
    expect(store.revision.current).toBe(1);
    expect(await history(store)).toHaveLength(1);
  });

  it('refuses a change that does not say what it replaces, or that replaces something else', async () => {
    const { policies, store } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author });
    const source = document('web', '/b');
    await expectAppError(
      policies.put({ source, author }),
      'precondition-required',
      /^The policy shop\/web exists\. Say which revision you replace \(it is at 1\)/,
    );
    await expectAppError(
      policies.put({ source, author, ifMatch: 7 }),
      'precondition-failed',
      /^The policy shop\/web is at revision 1, not 7: somebody changed it/,
    );
    await expectAppError(
      policies.put({ source: document('web', '/a'), author, ifMatch: 7 }),
      'precondition-failed',
      /not 7/,
    );
    await expectAppError(policies.put({ source, author, ifNoneMatch: true }), 'precondition-failed', /exists already/);
    await expectAppError(
      policies.put({ source: document('new', '/a'), author, ifMatch: 1 }),
      'precondition-failed',
      'There is no policy shop/new to replace.',
    );
    expect(await history(store)).toHaveLength(1);
    expect((await policies.get(policyKey('shop', 'web'))).source).toContain('/a');
  });

  it('lets one of several simultaneous changes to the same revision through, on whichever replica', async () => {
    const database = await stores.database();
    const [one, two] = [await setUp(stores, database), await setUp(stores, database)];
    await one.policies.put({ source: document('web', '/a'), author });
    const changes = Array.from({ length: 6 }, (_, i) =>
      (i % 2 === 0 ? one : two).policies.put({ source: document('web', `/${i}`), author, ifMatch: 1 }),
    );
    const results = await Promise.allSettled(changes);
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'precondition-failed' });
    }
    expect(await history(one.store)).toHaveLength(2);
  });

  it('stores nothing of a document with a mistake, and lists every mistake', async () => {
    const { policies, store } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author });
    const source = document('web', '/b', { spec: '  acton: DENY\n  selecter: {}\n' });
    const error = await expectAppError(policies.put({ source, author, ifMatch: 1 }), 'invalid-document');
    expect(error.details.map((detail) => [detail.line, detail.column])).toEqual([
      [8, 3],
      [9, 3],
    ]);
    expect(await history(store)).toHaveLength(1);
    expect((await policies.get(policyKey('shop', 'web'))).source).toContain('/a');
  });

  it('takes one document at a time, by its own name', async () => {
    const { policies } = await setUp(stores);
    const two = `${document('a', '/a')}---\n${document('b', '/b')}`;
    await expectAppError(policies.put({ source: two, author }), 'invalid-document', /the text holds 2/);
    await expectAppError(policies.put({ source: '', author }), 'invalid-document');
    const disagreement = policies.put({ source: document('a', '/a'), author, namespace: 'shop', name: 'b' });
    await expectAppError(disagreement, 'invalid', /^The document is the policy shop\/a, not the policy shop\/b\./);
    await expectAppError(policies.put({ source: document('a', '/a'), author: '' }), 'invalid', /author/);
  });

  it('deletes, and remembers that it did', async () => {
    const { policies, store, clock } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author });
    await expectAppError(
      policies.delete({ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'web', author, ifMatch: 7 }),
      'precondition-failed',
      /not 7/,
    );
    expect(
      await policies.delete({ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'web', author: 'ci', ifMatch: 1 }),
    ).toEqual({
      revision: 2,
    });
    expect(await reached(policies, 2)).toEqual([]);
    const gone = 'There is no policy shop/web.';
    await expectAppError(policies.get(policyKey('shop', 'web')), 'not-found', gone);
    await expectAppError(
      policies.delete({ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'web', author }),
      'not-found',
      gone,
    );
    expect(await history(store)).toMatchObject([
      { revision: 1, operation: 'put', author: 'admin', namespace: 'shop', name: 'web', time: clock.now() },
      { revision: 2, operation: 'delete', author: 'ci', source: null },
    ]);
  });

  it('never gives a revision twice, also not to a policy that is made again', async () => {
    const { policies } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author });
    await policies.delete({ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'web', author });
    const { policy, created } = await policies.put({ source: document('web', '/a'), author });
    expect([created, policy.revision]).toEqual([true, 3]);
  });

  it('lists page by page, by namespace and name', async () => {
    const { policies } = await setUp(stores);
    for (const [namespace, name] of [
      ['shop', 'b'],
      ['bank', 'z'],
      ['shop', 'a'],
      ['bank-2', 'a'],
    ] as const) {
      await policies.put({ source: document(name, '/a', { namespace }), author });
    }
    await reached(policies, 4);
    const names: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<PolicyStore['list']>> = await policies.list({
        kind: 'AuthorizationPolicy',
        limit: 1,
        cursor,
      });
      names.push(...page.items.map((item) => `${item.namespace}/${item.name}`));
      expect(page.revision).toBe(4);
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(names).toEqual(['bank/z', 'bank-2/a', 'shop/a', 'shop/b']);

    const shop = await policies.list({ kind: 'AuthorizationPolicy', namespace: 'shop', limit: 1 });
    expect(shop.items.map((item) => item.name)).toEqual(['a']);
    const rest = await policies.list({ kind: 'AuthorizationPolicy', namespace: 'shop', cursor: shop.nextCursor });
    expect(rest.items.map((item) => item.name)).toEqual(['b']);
    await expectAppError(
      policies.list({ kind: 'AuthorizationPolicy', namespace: 'bank', cursor: shop.nextCursor }),
      'invalid-cursor',
      /cursor/,
    );
  });

  it('has everything in force again after a restart', async () => {
    const database = await stores.database();
    const first = await setUp(stores, database);
    await first.policies.put({ source: document('a', '/a'), author });
    await first.policies.put({ source: document('b', '/b'), author });
    await first.policies.delete({ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a', author });
    await first.store.close();
    const { policies } = await setUp(stores, database);
    expect(policies.current.current.revision).toBe(3);
    expect(await reached(policies, 3)).toEqual(['shop/b@2']);
  });

  it("takes over another replica's changes", async () => {
    const database = await stores.database();
    const [one, two] = [await setUp(stores, database), await setUp(stores, database)];
    await one.policies.put({ source: document('a', '/a'), author });
    expect(await reached(two.policies, 1)).toEqual(['shop/a@1']);
    await one.policies.delete({ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a', author });
    expect(await reached(two.policies, 2)).toEqual([]);
  });

  it('misses no change that is committed while it opens', async () => {
    const { store, policies } = await setUp(stores);
    const changing: Store = {
      ...{ kind: store.kind, db: store.db, cursors: store.cursors, revision: store.revision },
      async transaction(fn) {
        const result = await store.transaction(fn);
        await policies.put({ source: document('a', '/a'), author });
        return result;
      },
      nextRevision: (trx) => store.nextRevision(trx),
      close: () => store.close(),
    };
    const late = await openPolicies(changing);
    expect(await reached(late, 1)).toEqual(['shop/a@1']);
  });

  it('shows every reader states that only ever go forward, and the last one in the end', async () => {
    const { policies } = await setUp(stores);
    const seen: number[] = [];
    policies.current.subscribe((set) => {
      seen.push(set.revision);
      // Whole: policy i was put at revision i.
      expect(set.policies).toHaveLength(set.revision);
    });
    await Promise.all(Array.from({ length: 20 }, (_, i) => policies.put({ source: document(`p${i}`, '/a'), author })));
    await reached(policies, 20);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('is not moved by changes to anything else', async () => {
    const { policies, store } = await setUp(stores);
    await policies.put({ source: document('a', '/a'), author });
    await reached(policies, 1);
    const { version } = policies.current;
    await store.transaction((trx) => store.nextRevision(trx));
    await policies.put({ source: document('b', '/a'), author });
    expect(await reached(policies, 3)).toEqual(['shop/a@1', 'shop/b@3']);
    expect(policies.current.version).toBe(version + 1);
  });
});

describeEachStore('A stored policy that this version cannot read', (stores) => {
  const unreadable = document('a', '/a', { spec: '  mode: Dream\n' });

  /** As a newer version would. */
  async function putUnreadable(store: Store): Promise<void> {
    await store.transaction(async (trx) => {
      const revision = await store.nextRevision(trx);
      const row = { ...policyKey('shop', 'a'), revision, source: unreadable };
      await trx.deleteFrom('policies').where('name', '=', 'a').execute();
      await trx
        .insertInto('policies')
        .values({ ...row, created_at: 0, updated_at: 0, updated_by: 'x' })
        .execute();
      await trx
        .insertInto('policy_revisions')
        .values({ ...row, operation: 'put', author: 'x', time: 0 })
        .execute();
    });
  }

  it('keeps a server from starting', async () => {
    const store = await stores.open();
    await putUnreadable(store);
    await expectAppError(
      PolicyStore.open({ store, clock: new FakeClock(), logger: silentLogger }),
      'incompatible-data',
      /^The stored policy shop\/a \(revision 1\) cannot be read by this version of Writ; a newer version wrote it/,
    );
  });

  it('leaves the last good policies in force until it is replaced, then everything is caught up', async () => {
    const { store, policies } = await setUp(stores);
    await policies.put({ source: document('a', '/a'), author });
    await policies.put({ source: document('b', '/b'), author });
    await reached(policies, 2);
    await putUnreadable(store);
    await policies.put({ source: document('c', '/c'), author });
    await expectAppError(policies.get(policyKey('shop', 'a')), 'incompatible-data');
    expect(await reached(policies, 2)).toEqual(['shop/a@1', 'shop/b@2']);

    await policies.put({ source: document('a', '/mended'), author, ifMatch: 3 });
    expect(await reached(policies, 5)).toEqual(['shop/a@5', 'shop/b@2', 'shop/c@4']);
  });

  it('can be deleted', async () => {
    const { store, policies } = await setUp(stores);
    await putUnreadable(store);
    await policies.delete({ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a', author });
    expect(await reached(policies, 2)).toEqual([]);
  });
});
