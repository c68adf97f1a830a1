import { describe, expect, it } from 'vitest';
import { recordCalls } from '../../support/recorded-calls.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

const web = 'spiffe://example.org/ns/shop/sa/web';
const orders = 'spiffe://example.org/ns/shop/sa/orders';

async function plan(world: World, payload: object) {
  const response = await world.request({ method: 'POST', url: '/v1/policies:plan', payload });
  expect(response.statusCode, response.body).toBe(200);
  return response.json();
}

/** A world in which web was let in to /orders/1 twice, and denied at /admin once. */
async function withTraffic() {
  const world = await createWorld();
  const { policy } = await world.policies.put({ source: policyText('orders', { path: '/orders/*' }), author: 'test' });
  const rule = `shop/orders@${policy.revision}#0`;
  const at = world.clock.now();
  const seen = { source: web, destination: orders, policyRevision: policy.revision };
  const ids = await recordCalls(world.store, [
    { ...seen, time: at - 3000, rule },
    { ...seen, time: at - 2000, rule, path: '/orders/2' },
    { ...seen, time: at - 1000, path: '/admin', decision: 'deny', reason: 'default-deny', rule: 'default-deny' },
  ]);
  return { world, rule, ids, at };
}

describe('POST /v1/policies:plan', () => {
  it('says which recorded calls would be denied, with their ids, and that nothing else changes', async () => {
    const { world, rule, ids } = await withTraffic();
    const put = [policyText('orders', { path: '/orders/1' })];
    const body = await plan(world, { put });
    expect(body.changes).toEqual([
      { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'orders', operation: 'replace' },
    ]);
    expect(body.newlyDenied).toEqual({
      calls: 1,
      groups: [
        {
          source: web,
          destination: orders,
          operation: { protocol: 'http', method: 'GET', path: '/orders/2', port: 8080 },
          calls: 1,
          lastSeen: expect.any(String),
          examples: [ids[1]],
          before: { decision: 'allow', rule },
          after: { decision: 'deny', rule: 'default-deny' },
          because: [],
        },
      ],
      unlisted: { groups: 0, calls: 0 },
    });
    expect([body.newlyAllowed.calls, body.unknown.calls, body.unused]).toEqual([0, 0, []]);
    expect(body.calls).toEqual({ recorded: 3, replayed: 3, untouched: 1, notReplayed: {} });
    // Nothing came into force.
    expect(world.policies.current.current.policies[0]?.revision).toBe(body.baseRevision);
  });

  it('says which calls would be allowed, also by the deletion of a DENY', async () => {
    const { world } = await withTraffic();
    const put = [policyText('admin', { path: '/admin' })];
    expect((await plan(world, { put })).newlyAllowed).toMatchObject({ calls: 1, groups: [{ calls: 1 }] });
    await world.policies.put({ source: policyText('admin', { path: '/admin' }), author: 'test' });
    await world.policies.put({ source: policyText('no', { path: '/admin', action: 'DENY' }), author: 'test' });
    const key = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'no' };
    expect((await plan(world, { delete: [key] })).newlyAllowed.groups[0]).toMatchObject({
      before: { decision: 'deny', rule: expect.stringMatching(/^shop\/no@\d+#0$/) },
      after: { decision: 'allow', rule: expect.stringMatching(/^shop\/admin@\d+#0$/) },
    });
  });

  it('says that the same text again changes nothing, and names policies that nobody needs', async () => {
    const { world } = await withTraffic();
    const same = `# another comment\n${policyText('orders', { path: '/orders/*' })}`;
    const body = await plan(world, { put: [same, policyText('idle', { path: '/idle' })] });
    expect(body.changes.map((each: { operation: string }) => each.operation)).toEqual(['same', 'create']);
    expect([body.newlyDenied.calls, body.newlyAllowed.calls, body.unknown.calls]).toEqual([0, 0, 0]);
    expect(body.unused).toEqual(['shop/idle']);
  });

  it('takes the last 24 hours unless it is told otherwise', async () => {
    const { world, at } = await withTraffic();
    await recordCalls(world.store, [{ source: web, destination: orders, time: at - 25 * 3_600_000 }]);
    expect((await plan(world, {})).calls.recorded).toBe(3);
    expect((await plan(world, { since: '30h' })).calls.recorded).toBe(4);
    const window = { since: new Date(at - 2500).toISOString(), until: new Date(at - 1500).toISOString() };
    const body = await plan(world, window);
    expect([body.calls.recorded, body.window]).toEqual([1, { ...window, replayedFrom: window.since }]);
    const backwards = { since: '1h', until: '2h' };
    expectProblem(
      await world.request({ method: 'POST', url: '/v1/policies:plan', payload: backwards }),
      400,
      'invalid',
    );
  });

  it('lists every finding of a candidate that is wrong, and what it cannot delete', async () => {
    const { world } = await withTraffic();
    const put = [policyText('orders').replace('GET', 'get')];
    const problem = expectProblem(
      await world.request({ method: 'POST', url: '/v1/policies:plan', payload: { put } }),
      422,
      'invalid-document',
    );
    expect(problem.errors).toMatchObject([{ code: 'invalid-method', line: 14 }]);
    const key = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'none' };
    const gone = await world.request({ method: 'POST', url: '/v1/policies:plan', payload: { delete: [key] } });
    expectProblem(gone, 404, 'not-found');
  });

  it('runs expectations over the candidate, and tells those that fail', async () => {
    const { world } = await withTraffic();
    const cases = [
      `apiVersion: writ.dev/v1
kind: PolicyTest
cases:
- {name: reads, from: shop/web, to: shop/orders, method: GET, path: /orders/1, expect: allow}
- {name: closed, from: shop/web, to: shop/orders, method: GET, path: /admin, expect: deny}
`,
    ];
    const put = [policyText('orders', { path: '/admin' })];
    const { expectations } = await plan(world, { put, cases });
    expect(expectations).toMatchObject({
      passed: 0,
      failed: 2,
      cases: [
        { name: 'reads', decision: 'deny', rule: 'default-deny', line: 4, considered: [{ matched: false }] },
        { name: 'closed', decision: 'allow', rule: 'shop/orders@0#0' },
      ],
    });
    const response = await world.request({ method: 'POST', url: '/v1/policies:test', payload: { cases } });
    expect(response.json()).toMatchObject({ passed: 2, failed: 0, cases: [{ passed: true }, { passed: true }] });
  });
});

describe('POST /v1/policies:suggest', () => {
  it('writes the policy that admits what was let in, and nothing else', async () => {
    const { world } = await withTraffic();
    const payload = { namespace: 'shop', service: 'orders', since: '1h' };
    const response = await world.request({ method: 'POST', url: '/v1/policies:suggest', payload });
    expect(response.json()).toMatchObject({ calls: 2, callers: 1, deniedByDefault: 1, inForce: ['shop/orders'] });
    expect(response.json().policy).toContain(`  # 2 calls of 1 caller, the last at 2025-12-31T23:59:58.000Z`);
    expect(response.json().policy).toContain('        - "/orders/2" # 1\n');
    const key = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'orders' };
    const replaced = await plan(world, { put: [response.json().policy], delete: [key] });
    expect([replaced.newlyDenied.calls, replaced.newlyAllowed.calls, replaced.unknown.calls]).toEqual([0, 0, 0]);
  });

  it('says when there was nothing to see', async () => {
    const world = await createWorld();
    const payload = { namespace: 'shop', service: 'nobody' };
    const response = await world.request({ method: 'POST', url: '/v1/policies:suggest', payload });
    expect(expectProblem(response, 404, 'not-found').detail).toMatch(/^No call to shop\/nobody was let in/);
  });
});
