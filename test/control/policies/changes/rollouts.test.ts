import { expect, it } from 'vitest';
import { silentLogger } from '../../../../src/base/log.ts';
import { RolloutSteps } from '../../../../src/control/policies/changes/rollout-steps.ts';
import type { Stage } from '../../../../src/control/policies/changes/stages.ts';
import type { StoreOptions } from '../../../../src/control/store/store.ts';
import { expectAppError } from '../../../support/errors.ts';
import type { StoreBench } from '../../../support/stores.ts';
import { describeEachStore } from '../../../support/stores.ts';
import { document } from '../documents.ts';
import { ORDERS, Replica } from './rollout-world.ts';

const kind = 'AuthorizationPolicy' as const;
const BAKE_MS = 60_000;
const ten = Array.from({ length: 10 }, (_, i) => `orders-${i}`);
const plan = { steps: [10, 50, 100], bakeMs: BAKE_MS };

async function setUp(stores: StoreBench): Promise<Replica & { readonly database: StoreOptions }> {
  const database = await stores.database();
  const replica = await Replica.open(await stores.open(database));
  await replica.policies.put({ source: document('web', '/old'), author: 'ann' });
  await replica.connect(...ten);
  await expect.poll(() => replica.settle().then(() => replica.paths('orders-0').join())).toContain('/old');
  return Object.assign(replica, { database });
}

const paths = (replica: Replica) => ten.filter((id) => replica.paths(id).join().includes('/new'));

/** From the choice of the sidecars of a step to its bake. */
async function beginStep(replica: Replica): Promise<void> {
  await replica.tick();
  await replica.tick();
}

async function bake(replica: Replica): Promise<void> {
  replica.pass(BAKE_MS + 2_000);
  await replica.tick();
}

describeEachStore('A rollout', (stores) => {
  it('gives the candidate to a share of the sidecars, which grows, and then to all as policies like any others', async () => {
    const replica = await setUp(stores);
    const revision = await replica.start([document('web', '/new')], plan);
    expect(paths(replica)).toEqual([]);
    await replica.tick();
    const first = replica.chosen();
    expect(first).toHaveLength(1);
    expect(paths(replica)).toEqual(first);
    expect((await replica.change(revision)).rollout).toMatchObject({ step: 0, chosen: 1, bakeStartedAt: null });
    await replica.tick();
    expect((await replica.change(revision)).rollout?.bakeStartedAt).toBe(replica.clock.now());
    replica.pass(BAKE_MS - 1);
    await replica.tick();
    expect(replica.chosen()).toEqual(first);
    await bake(replica);
    expect(replica.chosen()).toHaveLength(5);
    expect(replica.chosen()).toEqual(expect.arrayContaining([...first]));
    await replica.tick();
    await bake(replica);
    expect(paths(replica)).toEqual(ten);
    expect((await replica.policies.get({ kind, namespace: 'shop', name: 'web' })).source).toContain('/old');
    await replica.tick();
    await bake(replica);

    expect(await replica.change(revision)).toMatchObject({ state: 'applied', author: 'ann' });
    expect((await replica.policies.get({ kind, namespace: 'shop', name: 'web' })).source).toContain('/new');
    await expect.poll(() => replica.settle().then(() => replica.chosen())).toEqual([]);
    expect(paths(replica)).toEqual(ten);
    expect((await replica.change(revision)).events.map(({ actor, action, detail }) => [actor, action, detail])).toEqual(
      [
        ['ann', 'proposed', 'TICKET-1'],
        ['bob', 'rollout-started', ''],
        ['writ', 'step', 'Step 1 of 3: 10 %, 1 of 10 sidecars.'],
        ['writ', 'bake-started', '1 sidecar has the candidate.'],
        ['writ', 'step', 'Step 2 of 3: 50 %, 5 of 10 sidecars.'],
        ['writ', 'bake-started', '5 sidecars have the candidate.'],
        ['writ', 'step', 'Step 3 of 3: 100 %, 10 of 10 sidecars.'],
        ['writ', 'bake-started', '10 sidecars have the candidate.'],
        ['writ', 'applied', 'Every step held.'],
      ],
    );
  });

  it('never gives anybody the old policies again between the last step and the policies being there', async () => {
    const replica = await setUp(stores);
    await replica.start([document('web', '/new')], { steps: [100], bakeMs: BAKE_MS });
    await beginStep(replica);
    const seen = new Set<string>();
    const note = () => {
      const published = replica.publisher.current.current;
      const content = (published.of?.('orders-1') ?? published).for(ORDERS, {}).content.toString();
      seen.add(content.includes('/new') ? 'new' : 'old');
    };
    replica.publisher.current.subscribe(note);
    await bake(replica);
    await expect.poll(() => replica.settle().then(() => replica.chosen())).toEqual([]);
    note();
    expect([...seen]).toEqual(['new']);
  });

  it('goes back by itself for denials where the candidate is, and says how many and by which rule', async () => {
    const replica = await setUp(stores);
    const revision = await replica.start([document('web', '/new')], plan);
    await beginStep(replica);
    const [canary = ''] = replica.chosen();
    replica.pass(10_000);
    await replica.record(canary, 10, { denied: 4 });
    await replica.record('orders-0', canary === 'orders-0' ? 0 : 10);
    replica.pass(6_000);
    await replica.tick();
    expect(await replica.change(revision)).toMatchObject({
      state: 'rolled-back',
      why:
        '4 of 10 calls (40 %) were denied where the candidate is in force; before it was 0 %, and elsewhere it is 0 %. ' +
        'Tolerated beyond that: 1 %. Denied by: default-deny (4).',
    });
    expect([replica.chosen(), paths(replica)]).toEqual([[], []]);
    expect(replica.policies.current.current.policies).toHaveLength(1);
    await expectAppError(replica.changes.abort({ revision, by: 'ann' }), 'conflict', /is rolled-back/);
  });

  it('does not count what was denied before as well, nor what is denied everywhere', async () => {
    const replica = await setUp(stores);
    for (const id of ten) await replica.record(id, 10, { denied: 4 });
    replica.pass(1_000);
    const revision = await replica.start([document('web', '/new')], plan);
    await beginStep(replica);
    for (const id of ten) await replica.record(id, 10, { denied: 4 });
    replica.pass(10_000);
    await replica.tick();
    expect((await replica.change(revision)).rollout?.observed).toMatchObject({
      chosen: { calls: 10, denials: 4, errors: 0 },
      before: { calls: 10, denials: 4 },
      others: { calls: 90, denials: 36 },
    });
    await bake(replica);
    expect((await replica.change(revision)).rollout?.step).toBe(1);
  });

  it('goes back for errors, and for a refusal of the candidate', async () => {
    const replica = await setUp(stores);
    const failing = await replica.start([document('web', '/new')], plan);
    await beginStep(replica);
    await replica.record(replica.chosen()[0] ?? '', 10, { failed: 3 });
    await bake(replica);
    expect((await replica.change(failing)).why).toMatch(/^3 of 10 calls \(30 %\) were answered with an error/);

    for (const sidecar of replica.sidecars.values()) sidecar.refuses = 'cannot compile';
    const refused = await replica.start([document('web', '/newer')], plan);
    await replica.tick();
    await replica.tick();
    expect((await replica.change(refused)).why).toMatch(
      / \(instance orders-\d\) refused the candidate: cannot compile$/,
    );
  });

  it('goes back when the chosen do not answer, or do not send their records', async () => {
    const replica = await setUp(stores);
    for (const sidecar of replica.sidecars.values()) sidecar.isStuck = true;
    const stuck = await replica.start([document('web', '/new')], plan);
    await beginStep(replica);
    replica.pass(89_999);
    await replica.tick();
    expect((await replica.change(stuck)).state).toBe('rolling');
    replica.pass(1);
    await replica.tick();
    expect((await replica.change(stuck)).why).toMatch(/did not acknowledge the candidate within 90 s/);

    for (const sidecar of replica.sidecars.values()) [sidecar.isStuck, sidecar.isSilent] = [false, true];
    await replica.settle();
    const silent = await replica.start([document('web', '/newer')], plan);
    await beginStep(replica);
    await bake(replica);
    expect((await replica.change(silent)).state).toBe('rolling');
    replica.pass(90_000);
    await replica.tick();
    expect((await replica.change(silent)).why).toMatch(/nobody can tell what the candidate did there/);
  });

  it('does not wait for a sidecar that has said goodbye, nor for one of another workload', async () => {
    const replica = await setUp(stores);
    const hello = { instanceId: 'web-1', spiffeId: 'spiffe://example.org/ns/bank/sa/web', version: '1', inbound: [] };
    await replica.proxies.connect(hello);
    const revision = await replica.start([document('web', '/new')], { steps: [100], bakeMs: BAKE_MS });
    await replica.tick();
    expect((await replica.change(revision)).rollout?.chosen).toBe(10);
    await replica.sidecars.get('orders-3')?.connection.close({ goodbye: true });
    replica.sidecars.delete('orders-3');
    await replica.tick();
    expect((await replica.change(revision)).rollout).toMatchObject({ chosen: 9, bakeStartedAt: replica.clock.now() });
  });

  it('that concerns nobody holds its steps all the same', async () => {
    const replica = await setUp(stores);
    const source = document('web', '/new', { namespace: 'bank' });
    const revision = await replica.start([source], { steps: [50, 100], bakeMs: BAKE_MS });
    for (let i = 0; i < 2; i++) {
      await beginStep(replica);
      await bake(replica);
    }
    expect((await replica.change(revision)).state).toBe('applied');
  });

  it('goes on over what others change, and goes back when they change what it replaces', async () => {
    const replica = await setUp(stores);
    const revision = await replica.start([document('web', '/new')], { steps: [50, 100], bakeMs: BAKE_MS });
    await beginStep(replica);
    await replica.policies.put({ source: document('other', '/other'), author: 'eve' });
    const [canary = ''] = replica.chosen();
    await expect.poll(() => replica.settle().then(() => replica.paths(canary).join())).toContain('/other');
    expect(replica.paths(canary).join()).toContain('/new');
    await replica.tick();
    expect((await replica.change(revision)).state).toBe('rolling');
    await replica.policies.put({ source: document('web', '/else'), author: 'eve', ifMatch: '*' });
    await expect.poll(() => replica.settle().then(() => replica.paths('orders-0').join())).not.toContain('/old');
    await replica.tick();
    expect((await replica.change(revision)).why).toBe(
      'Somebody changed the policy shop/web meanwhile, which it was to replace.',
    );
    expect(paths(replica)).toEqual([]);
  });

  it('is on the record before each step; it does not go on while nothing can be recorded, and goes back all the same', async () => {
    const replica = await setUp(stores);
    const revision = await replica.start([document('web', '/new')], { steps: [50, 100], bakeMs: BAKE_MS });
    replica.isDiskFull = true;
    await expectAppError(replica.tick(), 'audit-unavailable');
    expect(replica.chosen()).toEqual([]);
    replica.isDiskFull = false;
    await beginStep(replica);
    replica.isDiskFull = true;
    replica.pass(BAKE_MS + 2_000);
    await expectAppError(replica.tick(), 'audit-unavailable');
    expect((await replica.change(revision)).rollout?.step).toBe(0);
    await replica.record(replica.chosen()[0] ?? '', 10, { denied: 10 });
    await replica.tick();
    expect((await replica.change(revision)).state).toBe('rolled-back');
    const object = `/v1/policy-changes/${revision}`;
    const detail = 'step 1: 50 %, 5 of 10 sidecars';
    // Both belong together.
    const request = replica.recorded[0]?.request;
    expect(request).toMatch(/^[0-9a-f-]{36}$/);
    expect(replica.recorded).toEqual([
      { action: 'task', operation: 'rollout.step', object, detail, request, outcome: 'begun' },
      { action: 'task', operation: 'rollout.step', object, detail, request, outcome: 'done' },
      {
        action: 'task',
        operation: 'rollout.rolled-back',
        object,
        outcome: 'done',
        reason: expect.stringContaining('10 of 10 calls'),
      },
    ]);
  });

  it('does not take a sidecar that was not sent the candidate yet for one that has it', async () => {
    const replica = await setUp(stores);
    for (const sidecar of replica.sidecars.values()) sidecar.isUnsent = true;
    const revision = await replica.start([document('web', '/new')], plan);
    await beginStep(replica);
    expect(replica.statuses().map(({ state }) => state)).toEqual(ten.map(() => 'synced'));
    expect((await replica.change(revision)).rollout?.bakeStartedAt).toBeNull();
  });

  it('is carried on by whoever has seen it as it is: each step, each bake once, and nothing after its end', async () => {
    const replica = await setUp(stores);
    const steps = new RolloutSteps({ store: replica.store, clock: replica.clock, logger: silentLogger });
    const stage = () => replica.stages.current.current as Stage;
    const next = { step: 0, threshold: 5, chosen: 1, concerned: 10 };
    const revision = await replica.start([document('web', '/new')], plan);
    const first = stage();
    await replica.tick();
    await expectAppError(steps.begin(first, next), 'conflict');
    const chosen = stage();
    await replica.tick();
    await expectAppError(steps.bake(chosen, 1), 'conflict');
    const baking = stage();
    await replica.changes.abort({ revision, by: 'ann' });
    await expectAppError(steps.begin(baking, { ...next, step: 1 }), 'conflict');
  });

  it('is taken back by a person at any step', async () => {
    const replica = await setUp(stores);
    const revision = await replica.start([document('web', '/new')], plan);
    await beginStep(replica);
    await replica.changes.abort({ revision, by: 'ann', reason: 'I do not like it' });
    await replica.settle();
    expect([replica.chosen(), paths(replica)]).toEqual([[], []]);
    await replica.tick();
    expect((await replica.change(revision)).events.at(-1)).toMatchObject({ actor: 'ann', detail: 'I do not like it' });
  });

  it('goes on where it was after a restart, with the same sidecars; the time without a control plane does not count', async () => {
    const before = await setUp(stores);
    const { store, clock } = before;
    const revision = await before.start([document('web', '/new')], plan);
    await before.tick();
    const chosen = before.chosen();
    await before.close();

    clock.jump(3_600_000);
    const after = await Replica.open(store, clock);
    expect(after.stages.current.current).toMatchObject({ change: revision });
    await after.tick();
    await after.connect(...ten);
    expect(after.chosen()).toEqual(chosen);
    expect(paths(after)).toEqual(chosen);
    await after.tick();
    expect((await after.change(revision)).rollout).toMatchObject({ step: 0, bakeStartedAt: clock.now() });
    await bake(after);
    expect((await after.change(revision)).rollout?.step).toBe(1);
  });

  it('is carried out by several replicas as by one: each speaks for its own sidecars, and one takes each step', async () => {
    const one = await setUp(stores);
    if (stores.kind === 'sqlite') return;
    const two = await Replica.open(await stores.open(one.database), one.clock);
    await two.connect('orders-x', 'orders-y');
    const both = async () => {
      await Promise.allSettled([one.rollouts.tick(), two.rollouts.tick()]);
      for (const replica of [one, two]) await expect.poll(() => replica.store.revision.current).toBe(head());
      for (const replica of [one, two]) await replica.settle();
    };
    const head = () => Math.max(one.store.revision.current, two.store.revision.current);
    const revision = await one.start([document('web', '/new')], { steps: [100], bakeMs: 20_000 });
    await two.store.transaction((trx) => two.store.nextRevision(trx));
    await both();
    expect(two.paths('orders-x').join()).toContain('/new');
    await both();
    await both();
    expect((await one.change(revision)).rollout).toMatchObject({ chosen: 12, bakeStartedAt: one.clock.now() });
    one.pass(22_000);
    await one.tick();
    // Nobody has said yet what the sidecars of the other replica did.
    expect((await one.change(revision)).state).toBe('rolling');
    two.pass(0);
    await both();
    await both();
    expect((await one.change(revision)).state).toBe('applied');
    const actions = (await one.change(revision)).events.map(({ action }) => action);
    expect(actions).toEqual(['proposed', 'rollout-started', 'step', 'bake-started', 'applied']);
  });
});
