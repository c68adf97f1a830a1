import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../../src/base/log.ts';
import { ChangeViews } from '../../../../src/control/policies/changes/change-views.ts';
import { Changes } from '../../../../src/control/policies/changes/changes.ts';
import type { NamespaceRules } from '../../../../src/control/policies/changes/protection.ts';
import { Protection } from '../../../../src/control/policies/changes/protection.ts';
import { PolicyStore } from '../../../../src/control/policies/store.ts';
import { changeDefaults } from '../../../../src/core/policy/change.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import type { StoreBench } from '../../../support/stores.ts';
import { describeEachStore } from '../../../support/stores.ts';
import { document } from '../documents.ts';

const ann = 'ann';
const bob = 'bob';
const HOUR_MS = 3_600_000;
const kind = 'AuthorizationPolicy' as const;

async function setUp(
  stores: StoreBench,
  o: { readonly namespaces?: Record<string, Partial<NamespaceRules>>; readonly plans?: boolean } = {},
) {
  const database = await stores.database();
  const store = await stores.open(database);
  const clock = new FakeClock();
  const policies = await PolicyStore.open({ store, clock, logger: silentLogger });
  onTestFinished(() => policies.close());
  const rules = Object.entries(o.namespaces ?? {}).map(
    ([name, given]) => [name, { requireApproval: false, requirePlan: false, ...given }] as const,
  );
  const protection = new Protection({ namespaces: new Map(rules), rootNamespace: 'writ-system' });
  const plans = o.plans === undefined ? {} : { plans: { covers: async () => o.plans === true } };
  const changes = new Changes({ store, policies, protection, clock, logger: silentLogger, ...plans });
  const views = new ChangeViews({ store, clock });
  const propose = (...put: string[]) => changes.propose({ put, author: ann, reason: 'TICKET-1' });
  return { database, store, clock, policies, changes, views, propose };
}

const locked = { namespaces: { shop: { requireApproval: true } } };

describeEachStore('A change of policies', (stores) => {
  it('is written down with what it would change, and is in force nowhere', async () => {
    const { policies, views, propose, changes } = await setUp(stores);
    await policies.put({ source: document('web', '/a'), author: ann });
    await policies.put({ source: document('old', '/a'), author: ann });
    const change = await changes.propose({
      put: [`${document('web', '/b')}---\n${document('new', '/a')}`, document('new', '/a', { namespace: 'bank' })],
      delete: [{ kind, namespace: 'shop', name: 'old' }],
      author: ann,
      reason: 'TICKET-1',
    });
    expect(change).toMatchObject({ state: 'proposed', author: ann, reason: 'TICKET-1', approver: null, rollout: null });
    const said = change.documents.map((each) => `${each.operation} ${each.namespace}/${each.name} ${each.replaces}`);
    expect(said).toEqual(['put shop/web 1', 'put shop/new null', 'put bank/new null', 'delete shop/old 2']);
    expect(new Set([change.revision, ...change.documents.map(({ revision }) => revision)]).size).toBe(5);
    expect((await policies.get({ kind, namespace: 'shop', name: 'web' })).source).toBe(document('web', '/a'));

    const full = await views.get(change.revision);
    expect(full).toEqual({ ...change, documents: full.documents, events: full.events });
    expect(full.documents[0]?.diff).toContain('-        paths: ["/a"]\n+        paths: ["/b"]');
    expect(full.documents[3]?.diff).toContain('+++ /dev/null');
    expect(full.events).toMatchObject([{ actor: ann, action: 'proposed', detail: 'TICKET-1' }]);
    await propose(document('other', '/x'));
    expect((await views.list()).items.map((each) => each.documents.length)).toEqual([1, 4]);
    expect((await views.list({ namespace: 'bank' })).items).toEqual([change]);
  });

  it('needs documents that are right, that change something, and each only once', async () => {
    const { propose, policies, changes, views } = await setUp(stores);
    const source = document('web', '/a');
    await policies.put({ source, author: ann });
    await expectAppError(propose(source), 'invalid', /nothing to propose/);
    await expectAppError(propose(source.replace('ALLOW', 'ALOW')), 'invalid-document', /ALOW/);
    await expectAppError(propose(document('web', '/b'), document('web', '/c')), 'invalid', /twice/);
    await expectAppError(propose(), 'invalid', /at least one/);
    const gone = { kind, namespace: 'shop', name: 'none' };
    await expectAppError(
      changes.propose({ put: [], delete: [gone], author: ann, reason: 'x' }),
      'not-found',
      /to delete/,
    );
    expect((await views.list()).items).toEqual([]);
  });

  it('comes into force as one, and its documents keep its author and reason in their history', async () => {
    const { policies, changes, propose, store } = await setUp(stores);
    const change = await propose(document('web', '/a'), document('orders', '/b'));
    const applied = await changes.apply({ revision: change.revision, by: bob });
    expect(applied).toMatchObject({ state: 'applied', appliedRevision: store.revision.current });
    await expect.poll(() => policies.current.current.policies.map(({ name }) => name)).toEqual(['orders', 'web']);
    const history = await store.db.selectFrom('policy_revisions').select(['name', 'author', 'reason']).execute();
    expect(history).toEqual([
      { name: 'web', author: ann, reason: 'TICKET-1' },
      { name: 'orders', author: ann, reason: 'TICKET-1' },
    ]);
    await expectAppError(changes.apply({ revision: change.revision, by: bob }), 'conflict', /is applied/);
  });

  it('is refused, all of it, when something that it changes is not as it was', async () => {
    const { policies, changes, propose } = await setUp(stores);
    const change = await propose(document('web', '/a'), document('orders', '/b'));
    await policies.put({ source: document('orders', '/c'), author: bob });
    await expectAppError(changes.apply({ revision: change.revision, by: ann }), 'precondition-failed', /shop\/orders/);
    await expectAppError(policies.get({ kind, namespace: 'shop', name: 'web' }), 'not-found');
  });

  it('needs a second person where the namespace says so, and its author is not one', async () => {
    const { changes, propose, views } = await setUp(stores, locked);
    const { revision } = await propose(document('web', '/a'));
    await expectAppError(changes.apply({ revision, by: bob }), 'approval-required', /shop.*second person/);
    await expectAppError(changes.approve({ revision, by: ann }), 'forbidden', /somebody else/);
    expect(await changes.approve({ revision, by: bob, reason: 'looks right' })).toMatchObject({
      state: 'approved',
      approver: bob,
    });
    await expectAppError(changes.approve({ revision, by: bob }), 'conflict', /is approved/);
    expect((await changes.apply({ revision, by: ann })).state).toBe('applied');
    expect((await views.get(revision)).events.map(({ actor, action }) => `${actor} ${action}`)).toEqual([
      'ann proposed',
      'bob approved',
      'ann applied',
    ]);
  });

  it('is not rolled out either without the second person, nor when something that it changes is not as it was', async () => {
    const { changes, propose, policies } = await setUp(stores, locked);
    const { steps, bakeMs, bounds } = changeDefaults;
    const { revision } = await propose(document('web', '/a'));
    const start = () => changes.rollout({ revision, by: bob, plan: { steps, bakeMs, bounds } });
    await expectAppError(start(), 'approval-required', /second person/);
    await changes.approve({ revision, by: bob });
    await policies.put({ source: document('web', '/b'), author: bob });
    await expectAppError(start(), 'precondition-failed', /shop\/web/);
  });

  it('of several namespaces needs whatever any of them needs', async () => {
    const { changes, propose } = await setUp(stores, { namespaces: { bank: { requireApproval: true } } });
    const change = await propose(document('web', '/a'), document('web', '/a', { namespace: 'bank' }));
    await expectAppError(changes.apply({ revision: change.revision, by: bob }), 'approval-required', /namespace bank /);
  });

  it('needs a plan where the namespace says so', async () => {
    const without = await setUp(stores, { namespaces: { shop: { requirePlan: true } }, plans: false });
    const { revision } = await without.propose(document('web', '/a'));
    await expectAppError(without.changes.apply({ revision, by: ann }), 'plan-required', /writ policy plan/);
    const made = await setUp(stores, { namespaces: { shop: { requirePlan: true } }, plans: true });
    const planned = await made.propose(document('web', '/a'));
    expect((await made.changes.apply({ revision: planned.revision, by: ann })).state).toBe('applied');
  });

  it('can be rejected, with a reason, until it is in force; its author withdraws it so', async () => {
    const { changes, propose } = await setUp(stores, locked);
    const first = await propose(document('web', '/a'));
    await changes.approve({ revision: first.revision, by: bob });
    expect(await changes.reject({ revision: first.revision, by: bob, reason: 'too wide' })).toMatchObject({
      state: 'rejected',
      why: 'too wide',
    });
    await expectAppError(changes.approve({ revision: first.revision, by: bob }), 'conflict', /propose it again/);
    const second = await propose(document('web', '/a'));
    expect((await changes.reject({ revision: second.revision, by: ann })).state).toBe('rejected');
  });

  it('is worth nothing once its time has run out, approved or not', async () => {
    const { changes, propose, clock, views } = await setUp(stores, locked);
    const { revision } = await propose(document('web', '/a'));
    await changes.approve({ revision, by: bob });
    clock.jump(7 * 24 * HOUR_MS);
    await expectAppError(changes.apply({ revision, by: ann }), 'conflict', /is expired/);
    expect((await views.list({ state: 'expired' })).items.map((each) => each.revision)).toEqual([revision]);
    expect((await views.list({ state: 'approved' })).items).toEqual([]);
    await changes.expire();
    await changes.expire();
    const { state, events } = await views.get(revision);
    expect([state, events.map(({ action }) => action)]).toEqual(['expired', ['proposed', 'approved', 'expired']]);
  });

  it('is decided on by one of two who try at once', async () => {
    const { changes, propose, views } = await setUp(stores, locked);
    const { revision } = await propose(document('web', '/a'));
    const tried = await Promise.allSettled([
      changes.approve({ revision, by: bob }),
      changes.approve({ revision, by: 'eve' }),
    ]);
    expect(tried.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect((await views.get(revision)).events).toHaveLength(2);
  });

  it('that somebody rejects while it is being applied is either in force or rejected, never both', async () => {
    const { changes, propose, views, policies } = await setUp(stores);
    const { revision } = await propose(document('web', '/a'));
    const writeAll = policies.writeAll.bind(policies);
    // Between the look at the change and its application.
    policies.writeAll = async (input) => {
      await changes.reject({ revision, by: bob });
      return await writeAll(input);
    };
    await expectAppError(changes.apply({ revision, by: ann }), 'conflict', /Look at it again/);
    expect((await views.get(revision)).state).toBe('rejected');
    await expectAppError(policies.get({ kind, namespace: 'shop', name: 'web' }), 'not-found');
  });

  it('is left alone by a dry run of every step', async () => {
    const { changes, propose, views, store, policies } = await setUp(stores, locked);
    const dryRun = true;
    const would = await changes.propose({ put: [document('x', '/a')], author: ann, reason: 'x', dryRun });
    expect([would.revision, would.state]).toEqual([0, 'proposed']);
    const { revision } = await propose(document('web', '/a'));
    const before = await views.get(revision);
    expect((await changes.approve({ revision, by: bob, dryRun })).state).toBe('approved');
    expect((await changes.reject({ revision, by: bob, dryRun })).state).toBe('rejected');
    expect(await views.get(revision)).toEqual(before);
    await changes.approve({ revision, by: bob });
    const head = store.revision.current;
    expect((await changes.apply({ revision, by: bob, dryRun })).state).toBe('applied');
    expect(store.revision.current).toBe(head);
    expect((await views.get(revision)).state).toBe('approved');
    await expectAppError(policies.get({ kind, namespace: 'shop', name: 'web' }), 'not-found');
    await expectAppError(views.get(revision + 100), 'not-found', /writ policy changes/);
  });
});
