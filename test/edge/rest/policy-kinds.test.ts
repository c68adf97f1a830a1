import { describe, expect, it } from 'vitest';
import type { PolicyKind } from '../../../src/core/policy/kinds.ts';
import { policyKindNames, policyKinds } from '../../../src/core/policy/kinds.ts';
import { documentOf } from '../../support/policies.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem } from './world.ts';

const yaml = { 'content-type': 'application/yaml' };

async function put(world: World, url: string, payload: string, headers: Record<string, string> = {}) {
  return await world.request({ method: 'PUT', url, payload, headers: { ...yaml, ...headers } });
}

/** What is there after deleting one. */
const effects: Readonly<Record<PolicyKind, string>> = {
  AuthorizationPolicy: 'access-ends',
  RequestAuthentication: 'tokens-unchecked',
  PeerAuthentication: 'peers-change',
  RateLimit: 'limit-ends',
};

describe.each(policyKindNames)('REST of %s', (kind) => {
  const { plural, noun } = policyKinds[kind];
  const list = `/v1/${plural}`;
  const one = `${list}/shop/web`;
  const source = `# grüße\r\n${documentOf(kind, 'web', { labels: '{ team: a }' })}# end\n`;

  it('creates, gives back byte for byte, replaces, lists and deletes', async () => {
    const world = await createWorld();
    const created = await put(world, one, source);
    expect(created.statusCode).toBe(201);
    expect(created.headers).toMatchObject({ etag: '"1"', location: one });
    expect(created.json()).toMatchObject({
      apiVersion: 'writ.dev/v1',
      kind,
      metadata: { name: 'web', namespace: 'shop', revision: 1, updatedBy: 'admin', labels: { team: 'a' } },
      source,
    });
    // A request authentication also says how its keys are.
    expect((await world.request({ url: one })).json()).toMatchObject(created.json());
    const raw = await world.request({ url: one, headers: { accept: 'application/yaml' } });
    expect(raw.rawPayload).toEqual(Buffer.from(source));
    expect((await world.request({ url: one, headers: { 'if-none-match': '"1"' } })).statusCode).toBe(304);

    const next = documentOf(kind, 'web', { mark: 'b' });
    expectProblem(await put(world, one, next), 428, 'precondition-required');
    expectProblem(await put(world, one, next, { 'if-match': '"7"' }), 412, 'precondition-failed');
    expectProblem(await put(world, one, next, { 'if-none-match': '*' }), 412, 'precondition-failed');
    expect((await put(world, one, next, { 'if-match': '"1"' })).json().metadata.revision).toBe(2);
    await put(world, `${list}/bank/web`, documentOf(kind, 'web', { namespace: 'bank' }));
    const names = async (query: string) =>
      (await world.request({ url: `${list}${query}` }))
        .json<{ items: { metadata: { namespace: string; name: string } }[] }>()
        .items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
    expect(await names('')).toEqual(['bank/web', 'shop/web']);
    expect(await names('?namespace=bank')).toEqual(['bank/web']);
    expect(await names('?labelSelector=team%3Da')).toEqual([]);

    expectProblem(await world.request({ method: 'DELETE', url: one }), 428, 'precondition-required');
    const gone = await world.request({ method: 'DELETE', url: one, headers: { 'if-match': '"2"' } });
    expect(gone.json()).toEqual({ revision: 4 });
    const problem = expectProblem(await world.request({ url: one }), 404, 'not-found');
    expect(problem.detail).toBe(`There is no ${noun} shop/web.`);
    expect(await names('')).toEqual(['bank/web']);
  });

  it('refuses a document of another kind, another name, or with mistakes, with line and column', async () => {
    const world = await createWorld();
    const other = policyKindNames.find((each) => each !== kind) ?? kind;
    const problem = expectProblem(await put(world, one, documentOf(other, 'web')), 400, 'invalid');
    expect(problem.detail).toContain(`the ${policyKinds[other].noun} shop/web, not the ${noun} shop/web`);
    expectProblem(await put(world, one, documentOf(kind, 'db')), 400, 'invalid');
    const { errors } = expectProblem(
      await put(world, one, documentOf(kind, 'web').replace('spec:\n', 'spec:\n  colour: red\n')),
      422,
      'invalid-document',
    );
    expect(errors).toEqual([expect.objectContaining({ code: 'unknown-field', line: 7, column: 3 })]);
    expect((await world.request({ url: list })).json().items).toEqual([]);
  });

  it('keeps every change, shows what it changed, and goes back to it', async () => {
    const world = await createWorld();
    await put(world, one, documentOf(kind, 'web'));
    await put(world, `${one}?reason=T-1`, documentOf(kind, 'web', { mark: 'b' }), { 'if-match': '*' });
    await world.request({ method: 'DELETE', url: one, headers: { 'if-match': '*' } });
    const revisions = (await world.request({ url: `${one}/revisions` })).json();
    expect(revisions.items).toMatchObject([
      { kind, revision: 3, operation: 'delete', previous: 2 },
      { kind, revision: 2, operation: 'put', reason: 'T-1', previous: 1 },
      { kind, revision: 1, operation: 'put', previous: null },
    ]);
    const second = (await world.request({ url: `${one}/revisions/2` })).json();
    expect(second.diff).toMatch(/^--- shop\/web@1\n\+\+\+ shop\/web@2\n/);
    const payload = { revision: 1, reason: 'it broke' };
    const back = { method: 'POST', url: `${one}:rollback`, payload, headers: { 'if-match': '"3"' } } as const;
    const dry = await world.request({ ...back, url: `${back.url}?dryRun=true` });
    expect(dry.json()).toMatchObject({ kind, metadata: { revision: 0 }, warnings: [] });
    const restored = await world.request(back);
    expect(restored.statusCode).toBe(201);
    expect(restored.headers.location).toBe(one);
    expect(restored.json()).toMatchObject({ kind, metadata: { revision: 4 }, source: documentOf(kind, 'web') });
    expectProblem(await world.request(back), 412, 'precondition-failed');
    expectProblem(await world.request({ url: `${list}/shop/never/revisions` }), 404, 'not-found');
  });

  it('tries a change out, and says what comes of deleting', async () => {
    const world = await createWorld();
    const would = await put(world, `${one}?dryRun=true`, source);
    expect(would.statusCode).toBe(201);
    expect(would.json()).toMatchObject({ kind, metadata: { revision: 0 }, warnings: [] });
    await put(world, one, source);
    const same = await put(world, `${one}?dryRun=true`, source);
    expect(same.json()).toMatchObject({ metadata: { revision: 1 }, warnings: [{ code: 'unchanged' }] });
    const gone = { method: 'DELETE', url: `${one}?dryRun=true`, headers: { 'if-match': '*' } } as const;
    expect((await world.request(gone)).json()).toMatchObject({ kind, warnings: [{ code: effects[kind] }] });
    expect((await world.request({ url: one })).statusCode).toBe(200);
  });
});

describe('Kinds beside each other', () => {
  it('may have objects of the same name, with one feed of revisions', async () => {
    const world = await createWorld();
    for (const kind of policyKindNames) {
      await put(world, `/v1/${policyKinds[kind].plural}/shop/web`, documentOf(kind, 'web'));
    }
    const all = (await world.request({ url: '/v1/revisions' })).json<{ items: { kind: string; revision: number }[] }>();
    expect(all.items.map(({ kind, revision }) => `${revision} ${kind}`)).toEqual(
      policyKindNames.map((kind, index) => `${index + 1} ${kind}`).reverse(),
    );
    const some = (await world.request({ url: '/v1/revisions?kind=RateLimit&namespace=shop' })).json();
    expect(some.items).toMatchObject([{ kind: 'RateLimit', revision: 4 }]);
    expectProblem(await world.request({ url: '/v1/revisions?kind=Pod' }), 400, 'invalid');
    await world.request({ method: 'DELETE', url: '/v1/policies/shop/web', headers: { 'if-match': '*' } });
    for (const kind of policyKindNames.slice(1)) {
      expect((await world.request({ url: `/v1/${policyKinds[kind].plural}/shop/web` })).statusCode).toBe(200);
    }
    expectProblem(await world.request({ url: '/v1/rate-limits/shop/web/revisions/1' }), 404, 'not-found');
  });
});
