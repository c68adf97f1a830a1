import { describe, expect, it } from 'vitest';
import { spiffeBundle } from '../../../src/core/identity/bundle.ts';
import { changeDefaults } from '../../../src/core/policy/change.ts';
import { policyKindNames, policyKinds } from '../../../src/core/policy/kinds.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { documentOf } from '../../support/policies.ts';
import { Contract } from './contract.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

const web = 'spiffe://example.org/ns/shop/sa/web';
const nobody = '00000000-0000-0000-0000-000000000000';
const yaml = { 'content-type': 'application/yaml' };

const partner = createTestAuthority({ trustDomain: 'partner.example' });
const endpoint = { url: 'https://partner.example/bundle', profile: 'https_web' } as const;

/** Everything that writes can change, as REST shows it, and what is recorded of it. */
async function stateOf(world: World): Promise<unknown> {
  const urls = ['entries', 'join-tokens', 'policies', 'nodes', 'federation', 'authorities', 'policy-changes'].map(
    (name) => `/v1/${name}`,
  );
  const lists = await Promise.all(urls.map((url) => world.request({ url })));
  return [...lists.map((response) => response.json()), [...world.recorder.events]];
}

/** Of what the OpenAPI document calls a write: `POST /v1/entries`, `DELETE /v1/nodes/{instanceId}`. */
async function writesOf(world: World) {
  const document = (await world.request({ url: '/v1/openapi.json' })).json();
  return new Contract(document).operations.filter(
    // Questions change nothing.
    ({ method, path }) => method !== 'GET' && !/^\/v1\/policies:(check|plan|suggest|test)$/.test(path),
  );
}

async function setUp() {
  const world = await createWorld();
  const entry = await world.entries.create({ spiffeId: web, labels: { app: 'web' } });
  const token = await world.deps.joinTokens.create({ entryId: entry.id });
  const put = await world.policies.put({ source: policyText('web'), author: 'admin' });
  await world.nodes.admit({
    ...{ instanceId: 'web-1', spiffeId: web, kind: 'workload', method: 'join_token', subject: 'x', entryId: entry.id },
    ...{ selectors: [], canReattest: true, serial: '0a', expiresAt: world.clock.now() + 3_600_000 },
  });
  const federation = await world.deps.federation.put({ trustDomain: 'partner.example', bundleEndpoint: endpoint });
  world.partner.answer = async () => Buffer.from(JSON.stringify(spiffeBundle({ ...partner.bundle, sequence: 4 })));
  while (world.policies.current.current.revision < put.policy.revision)
    await new Promise((resolve) => setImmediate(resolve));
  return { world, entry, token, policy: put.policy, federation: federation.relationship };
}

describe('dryRun', () => {
  it('is there on every write', async () => {
    const world = await createWorld();
    const writes = await writesOf(world);
    expect(writes.length).toBeGreaterThanOrEqual(19);
    for (const { method, path, operation } of writes) {
      const { parameters = [] } = operation as { parameters?: { name: string; in: string }[] };
      expect(parameters, `${method} ${path}`).toContainEqual(expect.objectContaining({ name: 'dryRun', in: 'query' }));
    }
  });

  it('answers with what would be, and changes nothing', async () => {
    const { world, entry, token, policy, federation } = await setUp();
    const { changes } = world.deps;
    const proposed = await changes.propose({ put: [policyText('one')], author: 'ann', reason: 'x' });
    const rolling = await changes.propose({ put: [policyText('two')], author: 'ann', reason: 'x' });
    const { steps, bakeMs, bounds } = changeDefaults;
    await changes.rollout({ revision: rolling.revision, by: 'ann', plan: { steps, bakeMs, bounds } });
    const ann = await world.deps.namedTokens.create({ name: 'ann', ttlSeconds: 60, by: 'admin' }, {});
    const rehearsed: string[] = [];
    const before = await stateOf(world);
    const ask = async (method: 'POST' | 'PUT' | 'DELETE', path: string, payload?: object | string, headers = {}) => {
      rehearsed.push(`${method} ${path}`);
      const response = await world.request({
        ...{ method, url: `${path}?dryRun=true` },
        ...(payload !== undefined && { payload }),
        headers: { ...headers },
      });
      expect(response.headers.etag ?? response.headers.location).toBeUndefined();
      expect(await stateOf(world), `${method} ${path}`).toEqual(before);
      return { status: response.statusCode, ...response.json() };
    };
    const any = { 'if-match': '*' };

    const orders = { spiffeId: 'spiffe://example.org/ns/shop/sa/orders', labels: { app: 'orders' } };
    expect(await ask('POST', '/v1/entries', orders)).toMatchObject({
      ...orders,
      status: 201,
      id: nobody,
      revision: 0,
      warnings: [],
    });

    const at = `/v1/entries/${entry.id}`;
    const changed = { spiffeId: web, labels: { app: 'shop' } };
    expect(await ask('PUT', at, changed, any)).toMatchObject({
      ...changed,
      status: 200,
      id: entry.id,
      revision: 0,
      warnings: [],
    });
    expect(await ask('PUT', at, { spiffeId: web, labels: { app: 'web' } }, any)).toMatchObject({
      revision: entry.revision,
      warnings: [{ code: 'unchanged' }],
    });
    expect(await ask('DELETE', at, undefined, any)).toMatchObject({
      ...{ status: 200, id: entry.id, spiffeId: web },
      warnings: [{ code: 'identity-ends' }],
    });

    expect(await ask('POST', '/v1/join-tokens', { entryId: entry.id })).toEqual({
      ...{
        status: 201,
        id: nobody,
        token: null,
        entryId: entry.id,
        expiresAt: '2026-01-01T00:10:00.000Z',
        warnings: [],
      },
    });
    expect(await ask('DELETE', `/v1/join-tokens/${token.id}`)).toMatchObject({
      ...{ status: 200, id: token.id, entryId: entry.id, warnings: [] },
    });

    const one = '/v1/policies/shop/web';
    expect(await ask('PUT', one, policyText('web', { path: '/a' }), { ...yaml, ...any })).toMatchObject({
      ...{ status: 200, metadata: { revision: 0 }, warnings: [] },
    });
    expect(await ask('PUT', one, policyText('web'), yaml)).toMatchObject({
      metadata: { revision: policy.revision },
      warnings: [{ code: 'unchanged' }],
    });
    expect(await ask('PUT', '/v1/policies/shop/new', policyText('new'), yaml)).toMatchObject({
      status: 201,
      warnings: [],
    });
    expect(await ask('DELETE', one, undefined, any)).toMatchObject({
      ...{ status: 200, metadata: { name: 'web', revision: policy.revision }, warnings: [{ code: 'access-ends' }] },
    });

    const back = { revision: policy.revision, reason: 'it broke' };
    expect(await ask('POST', `${one}:rollback`, back, any)).toMatchObject({
      ...{ status: 200, metadata: { revision: policy.revision }, warnings: [{ code: 'unchanged' }] },
    });

    // What each says: test/edge/rest/policy-kinds.test.ts.
    for (const kind of policyKindNames.slice(1)) {
      const other = `/v1/${policyKinds[kind].plural}/shop/web`;
      expect((await ask('PUT', other, documentOf(kind, 'web'), yaml)).status).toBe(201);
      expect((await ask('DELETE', other, undefined, any)).status).toBe(404);
      expect((await ask('POST', `${other}:rollback`, back, any)).status).toBe(404);
    }

    const proposal = { put: [policyText('proposed')], reason: 'x' };
    expect(await ask('POST', '/v1/policy-changes', proposal)).toMatchObject({ status: 201, revision: 0, warnings: [] });
    for (const [verb, state] of [
      ['approve', 'approved'],
      ['reject', 'rejected'],
      ['apply', 'applied'],
      ['rollout', 'rolling'],
      ['abort', 'rolled-back'],
    ]) {
      const { revision } = verb === 'abort' ? rolling : proposed;
      const body = verb === 'rollout' ? {} : undefined;
      // One is rolled out already, so another cannot be.
      if (verb === 'rollout')
        expect((await ask('POST', `/v1/policy-changes/${revision}:${verb}`, body)).status).toBe(409);
      else {
        const answer = await ask('POST', `/v1/policy-changes/${revision}:${verb}`, body);
        expect(answer).toMatchObject({ status: 200, state, warnings: [] });
      }
    }

    expect(await ask('POST', '/v1/tokens', { name: 'ann', ttlSeconds: 60 })).toMatchObject({
      ...{ status: 201, id: nobody, token: null, name: 'ann', warnings: [] },
    });
    expect(await ask('DELETE', `/v1/tokens/${ann.id}`)).toMatchObject({ status: 200, id: ann.id, warnings: [] });

    const spire = {
      spiffe_id: { trust_domain: 'example.org', path: '/ns/shop/sa/imported' },
      parent_id: { trust_domain: 'example.org', path: '/spire/agent/x509pop/a1' },
      selectors: [{ type: 'unix', value: 'uid:1000' }],
    };
    expect(await ask('POST', '/v1/entries:import', { entries: [spire] })).toMatchObject({
      created: [{ id: nobody, spiffeId: 'spiffe://example.org/ns/shop/sa/imported' }],
      unchanged: [],
    });

    expect(await ask('POST', '/v1/audit/index:rebuild')).toMatchObject({
      ...{ status: 200, rebuilding: false, warnings: [{ code: 'incomplete' }] },
    });

    expect(await ask('POST', '/v1/nodes/web-1:ban')).toMatchObject({ status: 200, banned: true, warnings: [] });
    expect(await ask('POST', '/v1/nodes/web-1:unban')).toMatchObject({ status: 200, banned: false, warnings: [] });
    expect(await ask('DELETE', '/v1/nodes/web-1')).toMatchObject({
      ...{ status: 200, instanceId: 'web-1', warnings: [{ code: 'comes-back' }] },
    });

    const trust = '/v1/federation/partner.example';
    expect(
      await ask('PUT', trust, { bundleEndpoint: { ...endpoint, url: 'https://other.example/' } }, any),
    ).toMatchObject({
      ...{ status: 200, revision: 0, warnings: [] },
    });
    expect(await ask('PUT', trust, { bundleEndpoint: endpoint })).toMatchObject({
      ...{ revision: federation.revision, warnings: [{ code: 'unchanged' }] },
    });
    expect(await ask('POST', `${trust}:refresh`)).toMatchObject({
      ...{ status: 200, bundle: { sequence: '4', lastError: null }, warnings: [] },
    });
    expect(await ask('DELETE', trust, undefined, any)).toMatchObject({
      status: 200,
      warnings: [{ code: 'calls-end' }],
    });

    for (const verb of ['prepare', 'rotate'])
      expect(await ask('POST', `/v1/authorities:${verb}`, { kind: 'jwt' })).toMatchObject({
        ...{ status: 200, id: nobody, kind: 'jwt', state: 'prepared', warnings: [] },
      });

    const unsaid = (await writesOf(world))
      .map(({ method, path }) => ({
        name: `${method} ${path}`,
        pattern: new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`),
      }))
      .filter(({ name, pattern }) => {
        const method = name.split(' ', 1)[0];
        return !rehearsed.some((each) => each.split(' ')[0] === method && pattern.test(each.split(' ')[1] ?? ''));
      });
    // Of an authority that is there, and of quarantine: test/edge/rest/authorities.test.ts, quarantines.test.ts.
    expect(unsaid.map(({ name }) => name).sort()).toEqual([
      'POST /v1/authorities/{id}:activate',
      'POST /v1/authorities/{id}:revoke',
      'POST /v1/authorities/{id}:taint',
      'POST /v1/quarantines',
      'POST /v1/quarantines/{id}:release',
    ]);
  });

  it('refuses what the write would refuse, in the same words', async () => {
    const { world, entry } = await setUp();
    const before = await stateOf(world);
    const asks = [
      ['POST', '/v1/entries', { spiffeId: web }, {}, 409],
      ['POST', '/v1/entries', { spiffeId: 'spiffe://other.org/ns/a/sa/b' }, {}, 422],
      ['PUT', `/v1/entries/${entry.id}`, { spiffeId: web }, {}, 428],
      ['PUT', `/v1/entries/${entry.id}`, { spiffeId: web }, { 'if-match': '"77"' }, 412],
      ['PUT', `/v1/entries/${entry.id}`, { spiffeId: `${web}2` }, { 'if-match': '*' }, 400],
      ['DELETE', `/v1/entries/${entry.id}`, undefined, { 'if-match': '"77"' }, 412],
      ['DELETE', `/v1/entries/${nobody}`, undefined, { 'if-match': '*' }, 404],
      ['POST', '/v1/join-tokens', { entryId: nobody }, {}, 404],
      ['POST', '/v1/join-tokens', { entryId: entry.id, ttlSeconds: 0 }, {}, 422],
      ['DELETE', `/v1/join-tokens/${nobody}`, undefined, {}, 404],
      ['PUT', '/v1/policies/shop/other', policyText('web'), yaml, 400],
      ['PUT', '/v1/policies/shop/web', policyText('web', { action: 'ALOW' }), { ...yaml, 'if-match': '*' }, 422],
      ['PUT', '/v1/policies/shop/web', policyText('web', { path: '/a' }), yaml, 428],
      ['DELETE', '/v1/policies/shop/web', undefined, { 'if-match': '"77"' }, 412],
      ['DELETE', '/v1/policies/shop/none', undefined, { 'if-match': '*' }, 404],
    ] as const;
    for (const [method, url, payload, headers, status] of asks) {
      const answers = [];
      for (const query of ['?dryRun=true', '']) {
        const given = payload === undefined ? {} : { payload };
        const response = await world.request({ method, url: url + query, ...given, headers: { ...headers } });
        const { code, detail } = response.json();
        answers.push({ status: response.statusCode, code, detail });
      }
      expect(answers[0], `${method} ${url}`).toEqual(answers[1]);
      expect(answers[0]?.status, `${method} ${url}`).toBe(status);
    }
    expect(await stateOf(world)).toEqual(before);
  });

  it('asks for the token like any write, and is logged as a dry run', async () => {
    const { world, entry } = await setUp();
    const url = `/v1/entries/${entry.id}?dryRun=true`;
    expectProblem(
      await world.request({ method: 'DELETE', url, headers: { authorization: null } }),
      401,
      'unauthenticated',
    );
    await world.request({ method: 'DELETE', url, headers: { 'if-match': '*' } });
    expect(world.logLines.at(-1)).toMatchObject({ event: 'admin.write', dryRun: true, result: 'done' });
  });

  it('takes no revision: the next write has the one that follows', async () => {
    const { world } = await setUp();
    const before = await world.entries.create({ spiffeId: `${web}1` });
    await world.request({ method: 'DELETE', url: '/v1/policies/shop/web?dryRun=true', headers: { 'if-match': '*' } });
    const made = await world.entries.create({ spiffeId: `${web}2` });
    expect(made.revision).toBe(before.revision + 1);
  });
});
