import { describe, expect, it, vi } from 'vitest';
import type { World } from './world.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

const url = '/v1/policies/shop/web';
const yaml = { 'content-type': 'application/yaml' };

async function create(world: World, name = 'web'): Promise<number> {
  const response = await world.request({
    method: 'PUT',
    url: `/v1/policies/shop/${name}`,
    payload: policyText(name),
    headers: yaml,
  });
  expect(response.statusCode).toBe(201);
  return response.json<{ metadata: { revision: number } }>().metadata.revision;
}

describe('PUT a policy', () => {
  it('creates it, keeps its text byte for byte, and gives its revision as ETag', async () => {
    const world = await createWorld();
    const source = `# grüße\r\n${policyText('web')}# end\n`;
    const response = await world.request({ method: 'PUT', url, payload: source, headers: yaml });
    expect(response.statusCode).toBe(201);
    const body = response.json();
    expect(body).toMatchObject({
      apiVersion: 'writ.dev/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'web', namespace: 'shop', updatedBy: 'admin', createdAt: '2026-01-01T00:00:00.000Z' },
      spec: { action: 'ALLOW', rules: [{ to: [{ operation: { methods: ['GET'], paths: ['/*'] } }] }] },
      source,
    });
    expect(response.headers.etag).toBe(`"${body.metadata.revision}"`);
    expect(response.headers.location).toBe(url);
    const raw = await world.request({ url, headers: { accept: 'application/yaml' } });
    expect(raw.headers['content-type']).toBe('application/yaml; charset=utf-8');
    expect(raw.rawPayload).toEqual(Buffer.from(source));
    expect((await world.request({ url })).json()).toEqual(body);
  });

  it('takes JSON as it takes YAML', async () => {
    const world = await createWorld();
    const source = `${JSON.stringify({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'web', namespace: 'shop' },
      spec: { action: 'DENY', rules: [{}] },
    })}\n`;
    const response = await world.request({
      method: 'PUT',
      url,
      payload: source,
      headers: { 'content-type': 'application/json' },
    });
    expect(response.statusCode).toBe(201);
    expect(response.json()).toMatchObject({
      apiVersion: 'security.istio.io/v1',
      spec: { action: 'DENY', rules: [{}] },
      source,
    });
  });

  it('refuses a document with all findings at once, with line and column, and keeps the old revision', async () => {
    const world = await createWorld();
    const revision = await create(world);
    const broken = policyText('web').replace('principals', 'principalz').replace('methods', 'methodz');
    const response = await world.request({
      method: 'PUT',
      url,
      payload: broken,
      headers: { ...yaml, 'if-match': '*' },
    });
    const { errors } = expectProblem(response, 422, 'invalid-document');
    expect(errors).toEqual([
      expect.objectContaining({ line: 11, column: 13, detail: expect.stringContaining('principalz') }),
      expect.objectContaining({ line: 14, column: 13, detail: expect.stringContaining('methodz') }),
    ]);
    expect((await world.request({ url })).headers.etag).toBe(`"${revision}"`);
  });

  it('refuses a document that is of another name than its path', async () => {
    const world = await createWorld();
    expectProblem(
      await world.request({ method: 'PUT', url, payload: policyText('other'), headers: yaml }),
      400,
      'invalid',
    );
    expectProblem(
      await world.request({ method: 'PUT', url: `${url}?dryRun=true`, payload: policyText('other'), headers: yaml }),
      400,
      'invalid',
    );
  });

  it('refuses two documents, no document, and bytes that are no UTF-8', async () => {
    const world = await createWorld();
    const two = `${policyText('web')}---\n${policyText('web2')}`;
    for (const at of [url, `${url}?dryRun=true`]) {
      expectProblem(
        await world.request({ method: 'PUT', url: at, payload: two, headers: yaml }),
        422,
        'invalid-document',
      );
      expectProblem(
        await world.request({ method: 'PUT', url: at, payload: '# nothing', headers: yaml }),
        422,
        'invalid-document',
      );
      expectProblem(
        await world.request({ method: 'PUT', url: at, payload: '', headers: yaml }),
        422,
        'invalid-document',
      );
      expectProblem(await world.request({ method: 'PUT', url: at, headers: {} }), 422, 'invalid-document');
      expectProblem(
        await world.request({ method: 'PUT', url: at, payload: Buffer.from([0x61, 0xff]), headers: yaml }),
        400,
        'invalid',
      );
    }
  });

  it('replaces only with the revision that is there, or *', async () => {
    const world = await createWorld();
    const revision = await create(world);
    const put = (headers: Record<string, string>, path: string) =>
      world.request({ method: 'PUT', url, payload: policyText('web', { path }), headers: { ...yaml, ...headers } });
    expectProblem(await put({}, '/a'), 428, 'precondition-required');
    expectProblem(await put({ 'if-match': `"${revision + 1}"` }, '/a'), 412, 'precondition-failed');
    expectProblem(await put({ 'if-match': '"abc"' }, '/a'), 412, 'precondition-failed');
    expectProblem(await put({ 'if-match': `W/"${revision}"` }, '/a'), 412, 'precondition-failed');
    expectProblem(await put({ 'if-match': `${revision}` }, '/a'), 400, 'invalid');
    expectProblem(await put({ 'if-match': `"${revision}", "9"` }, '/a'), 400, 'invalid');
    expectProblem(await put({ 'if-none-match': '*' }, '/a'), 412, 'precondition-failed');
    expectProblem(await put({ 'if-none-match': '"1"' }, '/a'), 400, 'invalid');
    expect((await put({ 'if-match': `"${revision}"` }, '/a')).statusCode).toBe(200);
    expect((await put({ 'if-match': '*' }, '/b')).statusCode).toBe(200);
    expectProblem(await put({ 'if-match': `"${revision}"` }, '/c'), 412, 'precondition-failed');
  });

  it('creates only, with If-None-Match: *', async () => {
    const world = await createWorld();
    const put = () =>
      world.request({ method: 'PUT', url, payload: policyText('web'), headers: { ...yaml, 'if-none-match': '*' } });
    expect((await put()).statusCode).toBe(201);
    expectProblem(await put(), 412, 'precondition-failed');
  });

  it('is one of two when both replace the same revision', async () => {
    const world = await createWorld();
    const revision = await create(world);
    const put = (path: string) =>
      world.request({
        method: 'PUT',
        url,
        payload: policyText('web', { path }),
        headers: { ...yaml, 'if-match': `"${revision}"` },
      });
    const statuses = (await Promise.all([put('/a'), put('/b')])).map((response) => response.statusCode);
    expect(statuses.sort()).toEqual([200, 412]);
  });

  it('changes nothing with dryRun, and answers as it would', async () => {
    const world = await createWorld();
    const dry = (headers: Record<string, string> = {}, text = policyText('web')) =>
      world.request({ method: 'PUT', url: `${url}?dryRun=true`, payload: text, headers: { ...yaml, ...headers } });
    const created = await dry();
    expect(created.statusCode).toBe(201);
    expect(created.json()).toMatchObject({ metadata: { name: 'web', revision: 0 }, source: policyText('web') });
    expectProblem(await world.request({ url }), 404, 'not-found');
    expectProblem(await dry({ 'if-match': '*' }), 412, 'precondition-failed');

    const revision = await create(world);
    expectProblem(await dry({}, policyText('web', { path: '/a' })), 428, 'precondition-required');
    expectProblem(await dry({ 'if-match': '"999"' }), 412, 'precondition-failed');
    expectProblem(await dry({ 'if-none-match': '*' }), 412, 'precondition-failed');
    expectProblem(await dry({ 'if-match': '*' }, policyText('web').replace('ALLOW', 'ALOW')), 422, 'invalid-document');
    expect((await dry({ 'if-match': `"${revision}"` }, policyText('web', { path: '/a' }))).statusCode).toBe(200);
    expect((await world.request({ url })).headers.etag).toBe(`"${revision}"`);
  });
});

describe('GET policies', () => {
  it('answers 304 to who has the revision', async () => {
    const world = await createWorld();
    const revision = await create(world);
    for (const tag of [`"${revision}"`, `W/"${revision}"`, `"0", "${revision}"`, '*']) {
      const response = await world.request({ url, headers: { 'if-none-match': tag } });
      expect({ status: response.statusCode, body: response.payload, etag: response.headers.etag }).toEqual({
        status: 304,
        body: '',
        etag: `"${revision}"`,
      });
    }
    expect((await world.request({ url, headers: { 'if-none-match': '"0"' } })).statusCode).toBe(200);
  });

  it('chooses the form by Accept', async () => {
    const world = await createWorld();
    await create(world);
    const type = async (accept: string | null) =>
      (await world.request({ url, headers: { accept } })).headers['content-type'];
    expect(await type(null)).toMatch(/^application\/json/);
    expect(await type('*/*')).toMatch(/^application\/json/);
    expect(await type('application/json;q=0.1, application/yaml')).toMatch(/^application\/yaml/);
    expect(await type('text/yaml')).toMatch(/yaml/);
    expectProblem(await world.request({ url, headers: { accept: 'image/png' } }), 406, 'invalid');
  });

  it('lists page by page, in order, each exactly once', async () => {
    const world = await createWorld();
    for (const name of ['c', 'a', 'e', 'b', 'd']) await create(world, name);
    const names: string[] = [];
    let cursor = '';
    do {
      const body = (await world.request({ url: `/v1/policies?limit=2${cursor && `&cursor=${cursor}`}` })).json();
      names.push(...body.items.map((item: { metadata: { name: string } }) => item.metadata.name));
      cursor = body.nextCursor ?? '';
      expect(body.revision).toBeGreaterThan(0);
    } while (cursor !== '');
    expect(names).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect((await world.request({ url: '/v1/policies?namespace=elsewhere' })).json()).toMatchObject({
      items: [],
      nextCursor: null,
    });
    expectProblem(await world.request({ url: '/v1/policies?cursor=forged' }), 400, 'invalid-cursor');
  });

  it('lists only to who has not the latest revision', async () => {
    const world = await createWorld();
    const revision = await create(world);
    await vi.waitFor(() => expect(world.policies.current.current.revision).toBe(revision));
    const list = (tag: string) => world.request({ url: '/v1/policies', headers: { 'if-none-match': tag } });
    expect((await list(`"${revision}"`)).statusCode).toBe(304);
    expect((await list(`"${revision - 1}"`)).headers.etag).toBe(`"${revision}"`);
  });

  it('is not found when it does not exist', async () => {
    const world = await createWorld();
    expectProblem(await world.request({ url }), 404, 'not-found');
  });
});

describe('DELETE a policy', () => {
  it('needs the revision that is there, or *', async () => {
    const world = await createWorld();
    const revision = await create(world);
    const remove = (headers: Record<string, string>, query = '') =>
      world.request({ method: 'DELETE', url: `${url}${query}`, headers });
    expectProblem(await remove({}), 428, 'precondition-required');
    expectProblem(await remove({ 'if-match': '"999"' }), 412, 'precondition-failed');
    expect((await remove({ 'if-match': '*' }, '?dryRun=true')).json()).toMatchObject({
      metadata: { revision },
      warnings: [{ code: 'access-ends' }],
    });
    expectProblem(await remove({}, '?dryRun=true'), 428, 'precondition-required');
    expect((await world.request({ url })).statusCode).toBe(200);
    const gone = await remove({ 'if-match': `"${revision}"` });
    expect(gone.json<{ revision: number }>().revision).toBeGreaterThan(revision);
    expectProblem(await world.request({ url }), 404, 'not-found');
    expectProblem(await remove({ 'if-match': '*' }), 404, 'not-found');
  });
});
