import { describe, expect, it } from 'vitest';
import { WatchSource } from '../../../src/base/watch.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

async function check(world: World, question: object) {
  return world.request({ method: 'POST', url: '/v1/policies:check', payload: question });
}

async function put(world: World, source: string) {
  const before = world.policies.current.version;
  await world.policies.put({ source, author: 'test' });
  await world.policies.current.next(before);
}

const call = { from: 'shop/web', to: 'shop/orders', method: 'GET', path: '/orders/7', port: 8080 };

describe('POST /v1/policies:check', () => {
  it('names the deciding rule and the line of its source', async () => {
    const world = await createWorld();
    await world.entries.create({ spiffeId: 'spiffe://example.org/ns/shop/sa/orders', labels: { app: 'orders' } });
    await put(world, policyText('web'));
    const answer = (await check(world, call)).json();
    expect(answer).toMatchObject({
      decision: 'allow',
      reason: 'allow-rule',
      rule: expect.stringMatching(/^shop\/web@\d+#0$/),
      source: { policy: 'shop/web', line: 9, text: '- from:' },
      considered: [{ action: 'ALLOW', matched: true, failed: [] }],
      request: {
        from: 'spiffe://example.org/ns/shop/sa/web',
        to: 'spiffe://example.org/ns/shop/sa/orders',
        labels: { app: 'orders' },
        method: 'GET',
        path: '/orders/7',
        port: 8080,
      },
      notes: [],
    });
    expect(answer.policyRevision).toBe(world.policies.current.current.revision);
  });

  it('names no line of a text that was replaced after the policies in force were read', async () => {
    const world = await createWorld();
    await put(world, policyText('web'));
    const inForce = new WatchSource(world.policies.current.current);
    const { policies } = world;
    const stale = await createWorld({
      deps: {
        policies: {
          current: inForce,
          get: (key) => policies.get(key),
          list: (filter) => policies.list(filter),
          put: (change) => policies.put(change),
          delete: (change) => policies.delete(change),
          rollBack: (change) => policies.rollBack(change),
        },
      },
    });
    await world.policies.put({ source: `# moved\n${policyText('web')}`, author: 'test', ifMatch: '*' });
    expect((await check(stale, call)).json()).toMatchObject({ decision: 'allow', rule: 'shop/web@1#0', source: null });
  });

  it('denies by default and says what did not match', async () => {
    const world = await createWorld();
    await put(world, policyText('web'));
    const answer = (await check(world, { ...call, method: 'DELETE' })).json();
    expect(answer).toMatchObject({ decision: 'deny', reason: 'default-deny', rule: 'default-deny', source: null });
    expect(answer.considered[0]).toMatchObject({ matched: false, failed: [expect.stringContaining('DELETE')] });
  });

  it('says that a workload without entry has no labels', async () => {
    const world = await createWorld();
    const selecting = policyText('web').replace('spec:\n', 'spec:\n  selector:\n    matchLabels: { app: orders }\n');
    await put(world, selecting);
    const without = (await check(world, call)).json();
    expect(without).toMatchObject({ decision: 'deny', considered: [], notes: [expect.stringMatching(/has no entry/)] });
    await world.entries.create({ spiffeId: 'spiffe://example.org/ns/shop/sa/orders', labels: { app: 'orders' } });
    expect((await check(world, call)).json()).toMatchObject({ decision: 'allow', notes: [] });
  });

  it('decides on the normalised path, and refuses one that is ambiguous as a sidecar does', async () => {
    const world = await createWorld();
    await put(world, policyText('web', { path: '/orders/*' }));
    const dots = (await check(world, { ...call, path: '/admin/../orders/7?x=1' })).json();
    expect(dots).toMatchObject({ decision: 'allow', request: { path: '/orders/7' } });
    const nul = (await check(world, { ...call, path: '/orders/%00' })).json();
    expect(nul).toMatchObject({
      decision: 'deny',
      reason: 'malformed-request',
      notes: expect.arrayContaining([expect.stringMatching(/safely/)]),
    });
  });

  it('does not guess a port that decides', async () => {
    const world = await createWorld();
    const { port: _, ...withoutPort } = call;
    await put(world, policyText('web'));
    expect((await check(world, withoutPort)).json()).toMatchObject({ decision: 'allow', request: { port: null } });
    await put(world, policyText('ports', { action: 'DENY' }).replace('methods: ["GET"]', 'ports: ["8080"]'));
    const problem = expectProblem(await check(world, withoutPort), 422, 'invalid-document');
    expect(problem).toMatchObject({ detail: expect.stringContaining('shop/ports'), errors: [{ pointer: '/port' }] });
    expect((await check(world, call)).json()).toMatchObject({ decision: 'deny', reason: 'deny-rule' });
  });

  it('takes header, host, claims, addresses and server name, and says what rules ask for that was not given', async () => {
    const world = await createWorld();
    await world.entries.create({ spiffeId: 'spiffe://example.org/ns/shop/sa/orders' });
    const rule = (condition: string) =>
      policyText('web').replace(/ {2}rules:[\s\S]*/, `  rules: [{when: [{${condition}}]}]\n`);
    const cases: readonly (readonly [string, object])[] = [
      ['key: "request.headers[X-Tenant]", values: [a]', { headers: { 'x-tenant': 'a' } }],
      ['key: "request.headers[:authority]", values: [shop]', { host: 'shop' }],
      ['key: "request.auth.claims[role]", values: [admin]', { claims: { sub: 's', role: 'admin' } }],
      ['key: request.auth.principal, values: ["example.org/s"]', { claims: { sub: 's' } }],
      ['key: source.ip, values: [10.0.0.0/8]', { sourceIp: '10.1.2.3' }],
      ['key: destination.ip, values: [10.0.0.0/8]', { destinationIp: '10.1.2.3' }],
      ['key: connection.sni, values: [shop]', { serverName: 'SHOP' }],
    ];
    for (const [index, [condition, given]] of cases.entries()) {
      await world.policies.put({
        source: rule(condition),
        author: 'test',
        ...(index > 0 && { ifMatch: '*' as const }),
      });
      expect((await check(world, { ...call, ...given })).json(), condition).toMatchObject({
        decision: 'allow',
        notes: [],
      });
      const without = (await check(world, call)).json();
      expect(without, condition).toMatchObject({ decision: 'deny' });
      expect(without.notes, condition).toEqual([expect.stringMatching(/^Rules ask for .*taken as absent/)]);
    }
  });

  it('shows what shadow policies would have decided and what is audited, at the time of the question', async () => {
    const world = await createWorld();
    const now = world.clock.now();
    const spec = (name: string, text: string) =>
      policyText(name).replace(/spec:\n[\s\S]*/, `spec: {${text}, rules: [{}]}\n`);
    await put(world, spec('grant', `validity: {notAfter: "${new Date(now + 60_000).toISOString()}"}`));
    await put(world, spec('try', 'action: DENY, mode: Shadow'));
    await put(world, spec('watch', 'action: AUDIT'));
    const answer = (await check(world, call)).json();
    expect(answer).toMatchObject({
      decision: 'allow',
      shadow: { decision: 'deny', rule: 'shop/try@2#0' },
      audited: 'shop/watch@3#0',
      considered: [
        { action: 'DENY', shadow: true, matched: true },
        { action: 'ALLOW', matched: true },
        { action: 'AUDIT', matched: true },
      ],
    });
    await world.clock.advance(60_000);
    expect((await check(world, call)).json()).toMatchObject({ decision: 'deny', reason: 'default-deny' });
  });

  it('asks about plain TCP when there is neither method nor path', async () => {
    const world = await createWorld();
    const answer = (await check(world, { from: 'shop/web', to: 'shop/orders' })).json();
    expect(answer).toMatchObject({ decision: 'deny', request: { method: null, path: null } });
    expectProblem(await check(world, { ...call, method: undefined }), 422, 'invalid-document');
    expectProblem(await check(world, { ...call, path: undefined }), 422, 'invalid-document');
  });

  it('refuses parties that are no identities of this trust domain', async () => {
    const world = await createWorld();
    const bad = [
      'web',
      'shop/web/x',
      'spiffe://other.org/ns/shop/sa/web',
      'spiffe://example.org/ns/shop/../sa/web',
      'Shop/ web',
      '<script>',
    ];
    for (const from of bad) {
      const { errors } = expectProblem(await check(world, { ...call, from }), 422, 'invalid-document');
      expect(errors).toEqual([expect.objectContaining({ pointer: '/from' })]);
    }
    const { errors } = expectProblem(
      await check(world, { ...call, to: 'spiffe://example.org/writ/control-plane' }),
      422,
      'invalid-document',
    );
    expect(errors).toEqual([expect.objectContaining({ pointer: '/to' })]);
  });

  it('asks for both directions: whether it is let in by whom it reaches, and out by who makes it', async () => {
    const world = await createWorld();
    await world.entries.create({ spiffeId: 'spiffe://example.org/ns/shop/sa/web', labels: { app: 'web' } });
    const out = (spec: string) =>
      `apiVersion: writ.dev/v1\nkind: AuthorizationPolicy\nmetadata: {name: out, namespace: shop}\nspec:\n  direction: Egress\n${spec}`;
    const question = { ...call, direction: 'Egress' };
    expect((await check(world, question)).json()).toMatchObject({
      decision: 'allow',
      reason: 'egress-open',
      rule: 'egress-open',
      source: null,
      considered: [],
      request: { direction: 'Egress', labels: { app: 'web' } },
    });
    await put(
      world,
      out(
        '  selector: {matchLabels: {app: web}}\n  rules:\n  - to: [{operation: {serviceAccounts: [orders], methods: [GET]}}]\n',
      ),
    );
    expect((await check(world, question)).json()).toMatchObject({
      decision: 'allow',
      rule: expect.stringMatching(/^shop\/out@\d+#0$/),
      source: { policy: 'shop/out', line: 8 },
    });
    expect((await check(world, { ...question, to: 'shop/payments' })).json()).toMatchObject({
      decision: 'deny',
      reason: 'default-deny',
      considered: [{ failed: [expect.stringContaining('called serviceAccount "shop/payments" must be one of')] }],
    });
    // It is not about who is let in, and binds nobody else.
    expect((await check(world, call)).json()).toMatchObject({ decision: 'deny', considered: [] });
    expect((await check(world, { ...question, from: 'shop/api' })).json()).toMatchObject({ reason: 'egress-open' });
    const foreign = { ...question, to: 'spiffe://other.org/ns/shop/sa/orders' };
    expect((await check(world, foreign)).json()).toMatchObject({ decision: 'allow' });
    expectProblem(await check(world, { ...foreign, direction: 'Ingress' }), 422, 'invalid-document');
  });

  it('names the authorizers that must agree, and says that nobody was asked', async () => {
    const world = await createWorld();
    await put(world, policyText('web'));
    const spec = 'spec: {action: CUSTOM, provider: {name: opa}, rules: [{}]}\n';
    await put(world, policyText('ask').replace(/spec:\n[\s\S]*/, spec));
    const answer = (await check(world, call)).json();
    expect(answer).toMatchObject({ decision: 'allow', custom: [{ provider: 'opa' }] });
    expect(answer.notes).toContainEqual(
      expect.stringMatching(/only if asking says so as well: opa\. Nobody was asked/),
    );
    expect((await check(world, { ...call, method: 'DELETE' })).json()).not.toHaveProperty('custom');
  });

  it('takes a caller without a certificate, where one is let in at all', async () => {
    const world = await createWorld();
    const { from: _, ...nobody } = { ...call, plaintext: true };
    await put(world, policyText('open').replace(/spec:\n[\s\S]*/, 'spec: {rules: [{}]}\n'));
    expect((await check(world, nobody)).json()).toMatchObject({
      decision: 'deny',
      reason: 'default-deny',
      request: { from: null },
      notes: expect.arrayContaining([expect.stringMatching(/Plain text is not let in there/)]),
    });
    await put(
      world,
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: plain, namespace: shop}\nspec: {mtls: {mode: PERMISSIVE}}\n',
    );
    expect((await check(world, nobody)).json()).toMatchObject({ decision: 'allow', request: { from: null } });
    await put(
      world,
      policyText('deny', { action: 'DENY' }).replace(
        / {2}rules:[\s\S]*/,
        '  rules: [{from: [{source: {notPrincipals: ["*"]}}]}]\n',
      ),
    );
    expect((await check(world, nobody)).json()).toMatchObject({ decision: 'deny', reason: 'deny-rule' });
    for (const bad of [
      { ...call, plaintext: true },
      { ...nobody, direction: 'Egress' },
      { ...nobody, plaintext: false },
    ]) {
      expectProblem(await check(world, bad), 422, 'invalid-document');
    }
  });

  it('chooses by the service account where a policy has targets', async () => {
    const world = await createWorld();
    await put(world, policyText('web').replace('spec:\n', 'spec:\n  targetRefs: [{kind: Service, name: orders}]\n'));
    expect((await check(world, call)).json()).toMatchObject({ decision: 'allow' });
    expect((await check(world, { ...call, to: 'shop/payments' })).json()).toMatchObject({ considered: [] });
  });
});
