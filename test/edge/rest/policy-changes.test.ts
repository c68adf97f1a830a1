import { describe, expect, it } from 'vitest';
import { Protection } from '../../../src/control/policies/changes/protection.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

const root = 'writ-system';
const approval = { requireApproval: true, requirePlan: false };

const locked = () =>
  createWorld({
    changes: { protection: new Protection({ namespaces: new Map([['shop', approval]]), rootNamespace: root }) },
  });

async function tokenOf(world: World, name: string): Promise<Record<string, string>> {
  const made = await world.deps.namedTokens.create({ name, ttlSeconds: 3600, by: 'admin' }, {});
  return { authorization: `Bearer ${made.token}` };
}

const post = (world: World, path: string, payload?: object, headers = {}) =>
  world.request({ method: 'POST', url: path, headers, ...(payload !== undefined && { payload }) });

describe('/v1/policy-changes', () => {
  it('proposes, is agreed on by another administrator, and comes into force', async () => {
    const world = await locked();
    const [ann, bob] = [await tokenOf(world, 'ann'), await tokenOf(world, 'bob')];
    const body = { put: [policyText('web', { path: '/a' })], reason: 'TICKET-1' };
    const proposed = await post(world, '/v1/policy-changes', body, ann);
    const { revision } = proposed.json();
    expect([proposed.statusCode, proposed.headers.location]).toEqual([201, `/v1/policy-changes/${revision}`]);
    const at = `/v1/policy-changes/${revision}`;

    const own = expectProblem(await post(world, `${at}:approve`, undefined, ann), 403, 'forbidden');
    expect(own.detail).toContain('somebody else');
    const early = expectProblem(await post(world, `${at}:apply`, undefined, ann), 409, 'approval-required');
    expect(early.detail).toContain(`writ policy approve ${revision}`);
    expect((await post(world, `${at}:approve?reason=fine`, undefined, bob)).json()).toMatchObject({
      state: 'approved',
      approver: 'bob',
    });
    expect((await post(world, `${at}:apply`, undefined, ann)).json()).toMatchObject({ state: 'applied' });
    const policy = await world.request({ url: '/v1/policies/shop/web' });
    expect(policy.json()).toMatchObject({ metadata: { updatedBy: 'ann' } });
    const { documents, events } = (await world.request({ url: at })).json();
    expect(documents).toMatchObject([
      { operation: 'put', kind: 'AuthorizationPolicy', namespace: 'shop', name: 'web' },
    ]);
    expect(documents[0].diff).toContain('+            paths: ["/a"]');
    expect(events.map((e: { actor: string; action: string; detail: string }) => [e.actor, e.action, e.detail])).toEqual(
      [
        ['ann', 'proposed', 'TICKET-1'],
        ['bob', 'approved', 'fine'],
        ['ann', 'applied', ''],
      ],
    );
  });

  it('lists by state, namespace and author, page by page', async () => {
    const world = await createWorld();
    for (const [i, namespace] of ['shop', 'bank', 'shop'].entries()) {
      const put = [policyText(`p${i}`, { namespace })];
      expect((await post(world, '/v1/policy-changes', { put, reason: 'x' })).statusCode).toBe(201);
    }
    const list = async (query: string) => (await world.request({ url: `/v1/policy-changes?${query}` })).json();
    const first = await list('namespace=shop&limit=1');
    expect(first.items).toHaveLength(1);
    const second = await list(`namespace=shop&limit=1&cursor=${encodeURIComponent(first.nextCursor)}`);
    expect([second.items.length, second.nextCursor]).toEqual([1, null]);
    expect(second.items[0].revision).toBeLessThan(first.items[0].revision);
    expect((await list('state=proposed')).items).toHaveLength(3);
    expect((await list('author=nobody')).items).toEqual([]);
    expectProblem(await world.request({ url: '/v1/policy-changes/99' }), 404, 'not-found');
    expectProblem(await world.request({ url: '/v1/policy-changes?state=done' }), 400, 'invalid');
  });

  it('refuses what has findings, with line and column, and writes nothing down', async () => {
    const world = await createWorld();
    const put = [policyText('web').replace('ALLOW', 'ALOW')];
    const problem = expectProblem(
      await post(world, '/v1/policy-changes', { put, reason: 'x' }),
      422,
      'invalid-document',
    );
    expect(problem.errors?.[0]).toMatchObject({ line: 7 });
    expect((await world.request({ url: '/v1/policy-changes' })).json().items).toEqual([]);
  });

  it('starts a rollout with defaults, one at a time, and stops it', async () => {
    const world = await createWorld();
    const propose = async (name: string) => {
      const { revision } = (await post(world, '/v1/policy-changes', { put: [policyText(name)], reason: 'x' })).json();
      return `/v1/policy-changes/${revision}`;
    };
    const [one, two] = [await propose('one'), await propose('two')];
    const started = (await post(world, `${one}:rollout`, {})).json();
    expect(started).toMatchObject({
      state: 'rolling',
      rollout: { steps: [1, 10, 50, 100], bakeSeconds: 120, maxDenials: 1, maxErrors: 1, step: 1, startedBy: 'admin' },
    });
    expectProblem(await post(world, `${two}:rollout`, {}), 409, 'conflict');
    expectProblem(await post(world, `${one}:reject`), 409, 'conflict');
    expect((await post(world, `${one}:abort?reason=no`)).json()).toMatchObject({ state: 'rolled-back', why: 'no' });
    const plan = { steps: [20, 100], bakeSeconds: 5, maxDenials: 0.5, maxErrors: 0 };
    expect((await post(world, `${two}:rollout`, plan)).json().rollout).toMatchObject(plan);
    await post(world, `${two}:abort`);
    const three = await propose('three');
    for (const bad of [
      [50, 10, 100],
      [10, 50],
      [100, 100],
    ]) {
      expectProblem(await post(world, `${three}:rollout`, { steps: bad }), 400, 'invalid');
    }
  });

  it('dry runs answer with what would be, and leave everything as it is', async () => {
    const world = await createWorld();
    const put = [policyText('web')];
    const would = await post(world, '/v1/policy-changes?dryRun=true', { put, reason: 'x' });
    expect([would.statusCode, would.headers.location, would.json().revision]).toEqual([201, undefined, 0]);
    const { revision } = (await post(world, '/v1/policy-changes', { put, reason: 'x' })).json();
    const at = `/v1/policy-changes/${revision}`;
    const before = (await world.request({ url: at })).json();
    for (const [verb, state] of [
      ['reject', 'rejected'],
      ['apply', 'applied'],
      ['rollout', 'rolling'],
    ]) {
      const answer = await post(world, `${at}:${verb}?dryRun=true`, verb === 'rollout' ? {} : undefined);
      expect(answer.json(), verb).toMatchObject({ state, warnings: [] });
    }
    expect((await world.request({ url: at })).json()).toEqual(before);
  });
});

describe('writing policies directly', () => {
  const yaml = { 'content-type': 'application/yaml' };

  it('is refused where a second person is needed: to put, to delete, to roll back, and dry', async () => {
    const world = await locked();
    await world.policies.put({ source: policyText('web'), author: 'ann' });
    const url = '/v1/policies/shop/web';
    const any = { 'if-match': '*' };
    const payload = policyText('web', { path: '/x' });
    const refused = [
      await world.request({ method: 'PUT', url, payload, headers: { ...yaml, ...any } }),
      await world.request({ method: 'PUT', url: `${url}?dryRun=true`, payload, headers: { ...yaml, ...any } }),
      await world.request({ method: 'DELETE', url, headers: any }),
      await post(world, `${url}:rollback`, { revision: 1, reason: 'x' }, any),
    ];
    for (const response of refused) {
      expect(expectProblem(response, 409, 'approval-required').detail).toContain('--propose');
    }
    const other = policyText('web', { namespace: 'bank' });
    const put = await world.request({ method: 'PUT', url: '/v1/policies/bank/web', payload: other, headers: yaml });
    expect(put.statusCode).toBe(201);
  });

  it('is refused in the root namespace when it is in any: its policies hold there too', async () => {
    const world = await locked();
    const payload = policyText('all', { namespace: root });
    const put = await world.request({ method: 'PUT', url: `/v1/policies/${root}/all`, payload, headers: yaml });
    expectProblem(put, 409, 'approval-required');
  });

  it('needs a plan of exactly that where the namespace says so', async () => {
    const planned: string[] = [];
    const rules = { requireApproval: false, requirePlan: true };
    const world = await createWorld({
      changes: {
        protection: new Protection({ namespaces: new Map([['*', rules]]), rootNamespace: root }),
        plans: { covers: async ([one]) => planned.includes(one?.source ?? '') },
      },
    });
    const payload = policyText('web');
    const put = () => world.request({ method: 'PUT', url: '/v1/policies/shop/web', payload, headers: yaml });
    expect(expectProblem(await put(), 409, 'plan-required').detail).toContain('writ policy plan');
    planned.push(payload);
    expect((await put()).statusCode).toBe(201);
  });
});
