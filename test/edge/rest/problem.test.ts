import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { createWorld, expectProblem, policyText } from './world.ts';

describe('a failed request', () => {
  it('is a problem when nothing is at its path', async () => {
    const world = await createWorld();
    expectProblem(await world.request({ url: '/v1/nothing' }), 404, 'not-found');
    expectProblem(await world.request({ url: '/nothing' }), 404, 'not-found');
    expectProblem(await world.request({ url: '/v1/policies/' }), 404, 'not-found');
  });

  it('says which methods are possible when its own is not', async () => {
    const world = await createWorld();
    const response = await world.request({ method: 'PATCH', url: '/v1/policies/shop/web' });
    const problem = expectProblem(response, 405, 'invalid');
    expect(response.headers.allow).toBe('GET, HEAD, PUT, DELETE');
    expect(problem).toMatchObject({ type: 'about:blank', title: 'Method Not Allowed' });
    expectProblem(await world.request({ method: 'POST', url: '/v1/audit/tail' }), 405, 'invalid');
    expectProblem(await world.request({ method: 'OPTIONS', url: '/v1/entries' }), 405, 'invalid');
  });

  it('is a problem when its method is one that fastify does not know', async () => {
    const world = await createWorld();
    const response = await world.request({ method: 'PROPFIND' as 'GET', url: '/v1/entries' });
    expectProblem(response, 405, 'invalid');
    expectProblem(await world.request({ method: 'QUERY' as 'GET', url: '/v1/entries' }), 405, 'invalid');
  });

  it('is a problem when its JSON is malformed, empty, or poisons prototypes', async () => {
    const world = await createWorld();
    const post = (payload: string) =>
      world.request({ method: 'POST', url: '/v1/entries', payload, headers: { 'content-type': 'application/json' } });
    for (const payload of ['{"spiffeId":', '', '{"spiffeId":"x","__proto__":{"a":1}}', '\u0000']) {
      expectProblem(await post(payload), 400, 'invalid');
    }
  });

  it('names every violation of the schema at once, with pointers', async () => {
    const world = await createWorld();
    const response = await world.request({
      method: 'POST',
      url: '/v1/entries',
      payload: { labels: { app: 7 }, selectors: 'x', 'a/b~c': 1, x509TtlSeconds: 1 },
    });
    const problem = expectProblem(response, 422, 'invalid-document');
    const pointers = problem.errors?.map((error) => `${error.pointer} ${error.code}`);
    expect(pointers?.sort()).toEqual(
      [
        '/spiffeId missing-field',
        '/labels/app wrong-type',
        '/selectors wrong-type',
        '/a~1b~0c unknown-field',
        '/x509TtlSeconds out-of-range',
      ].sort(),
    );
  });

  it('coerces nothing in a body', async () => {
    const world = await createWorld();
    const response = await world.request({
      method: 'POST',
      url: '/v1/join-tokens',
      payload: { entryId: '019b7d5c-0000-7000-8000-000000000000', ttlSeconds: '600' },
    });
    expect(expectProblem(response, 422, 'invalid-document').errors).toEqual([
      { code: 'wrong-type', detail: '/ttlSeconds must be integer.', pointer: '/ttlSeconds' },
    ]);
  });

  it('refuses a query parameter that is unknown, repeated or not what it should be', async () => {
    const world = await createWorld();
    for (const query of ['limt=5', 'limit=5&limit=6', 'limit=0', 'limit=501', 'limit=5.5', 'limit=0x5', 'limit=']) {
      const problem = expectProblem(await world.request({ url: `/v1/entries?${query}` }), 400, 'invalid');
      expect(problem.detail).toMatch(/^The query parameter lim/);
    }
    expect((await world.request({ url: '/v1/entries?limit=5' })).statusCode).toBe(200);
  });

  it('is a problem when the Content-Type is not taken here', async () => {
    const world = await createWorld();
    const send = (url: string, method: 'POST' | 'PUT', type: string) =>
      world.request({ method, url, payload: 'a=1', headers: { 'content-type': type } });
    expect(expectProblem(await send('/v1/entries', 'POST', 'text/plain'), 415, 'invalid').detail).toMatch(
      /send application\/json/,
    );
    expectProblem(await send('/v1/entries', 'POST', 'application/yaml'), 415, 'invalid');
    expectProblem(await send('/v1/entries', 'POST', 'application/x-www-form-urlencoded'), 415, 'invalid');
    expectProblem(await send('/v1/policies/shop/a', 'PUT', 'text/plain'), 415, 'invalid');
    expectProblem(await send('/v1/entries', 'POST', 'nonsense'), 415, 'invalid');
  });

  it('is a problem when its path is malformed or a name in it too long', async () => {
    const world = await createWorld();
    expectProblem(await world.request({ url: '/v1/policies/%zz/a' }), 400, 'invalid');
    expectProblem(await world.request({ url: `/v1/policies/${'a'.repeat(600)}/a` }), 414, 'invalid');
    expectProblem(await world.request({ url: '/v1/policies/UPPER/a' }), 400, 'invalid');
  });

  it('is a problem when a body is larger than 1 MiB', async () => {
    const world = await createWorld();
    const response = await world.request({
      method: 'PUT',
      url: '/v1/policies/shop/web',
      payload: `${policyText('web')}# ${'x'.repeat(1024 * 1024)}`,
      headers: { 'content-type': 'application/yaml' },
    });
    expectProblem(response, 413, 'too-large');
  });

  it('tells nothing about a defect, and logs it', async () => {
    const world = await createWorld({
      deps: {
        proxies: {
          list: () => {
            throw new Error('the password is hunter2');
          },
        },
      },
    });
    const response = await world.request({ url: '/v1/proxies' });
    const problem = expectProblem(response, 500, 'internal');
    expect(response.payload).not.toContain('hunter2');
    expect(world.logLines.find((line) => line.requestId === problem.requestId)).toMatchObject({
      code: 'internal',
      err: { message: 'the password is hunter2' },
    });
  });

  it('says when to come back', async () => {
    const world = await createWorld({
      deps: {
        proxies: {
          list: () => {
            throw new AppError('unavailable', 'The store is away.', { retryAfterSeconds: 1.2 });
          },
        },
      },
    });
    const response = await world.request({ url: '/v1/proxies' });
    expect(expectProblem(response, 503, 'unavailable').detail).toBe('The store is away.');
    expect(response.headers['retry-after']).toBe('2');
  });
});
