import type { FastifyReply, FastifyRequest } from 'fastify';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import type { JoinTokens } from '../../../src/control/authority/attest/join-token.ts';
import type { IdempotencyPort } from '../../../src/edge/rest/idempotency.ts';
import { onceForKey } from '../../../src/edge/rest/idempotency.ts';
import type { World } from './world.ts';
import { createWorld, expectProblem } from './world.ts';

const url = '/v1/join-tokens';
const key = { 'idempotency-key': '7f7d5d3a-0001' };

async function setUp() {
  const world = await createWorld();
  const { id: entryId } = await world.entries.create({ spiffeId: 'spiffe://example.org/ns/shop/sa/web' });
  const post = (
    headers: Record<string, string> = key,
    payload: object | string = { entryId, ttlSeconds: 60 },
    at = url,
  ) => world.request({ method: 'POST', url: at, payload, headers: { 'content-type': 'application/json', ...headers } });
  return { world, entryId, post };
}

async function countTokens(world: World): Promise<number> {
  return (await world.request({ url })).json<{ items: unknown[] }>().items.length;
}

describe('POST with an Idempotency-Key', () => {
  it('makes one token, and gives the first answer again, with its status, body and Location', async () => {
    const { world, entryId, post } = await setUp();
    const first = await post();
    expect(first.statusCode).toBe(201);
    expect(first.headers['idempotency-replayed']).toBeUndefined();
    world.clock.jump(24 * 60 * 60 * 1000 - 1);
    const respelt = `{ "ttlSeconds": 60,\n "entryId": ${JSON.stringify(entryId)} }`;
    for (const again of [await post(), await post(key, respelt)]) {
      expect({ status: again.statusCode, body: again.payload }).toEqual({ status: 201, body: first.payload });
      expect(again.headers).toMatchObject({ location: first.headers.location, 'idempotency-replayed': 'true' });
    }
    expect(await countTokens(world)).toBe(1);
    const writes = world.logLines.filter((line) => line.event === 'admin.write');
    expect(JSON.stringify(writes)).not.toContain(first.json().token);
  });

  it('makes one token when many come at the same time', async () => {
    const { world, post } = await setUp();
    const answers = await Promise.all(Array.from({ length: 6 }, () => post()));
    const tokens = new Set(answers.filter((a) => a.statusCode === 201).map((a) => a.json().token));
    expect(tokens.size).toBe(1);
    for (const answer of answers.filter((a) => a.statusCode !== 201)) {
      expectProblem(answer, 409, 'idempotency-in-flight');
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    }
    expect(await countTokens(world)).toBe(1);
  });

  it('is refused for another request', async () => {
    const { world, entryId, post } = await setUp();
    await post();
    expectProblem(await post(key, { entryId, ttlSeconds: 61 }), 422, 'idempotency-mismatch');
    expectProblem(await post(key, { entryId }), 422, 'idempotency-mismatch');
    expect((await post({ 'idempotency-key': 'another' })).statusCode).toBe(201);
    expect((await post({})).statusCode).toBe(201);
    expect(await countTokens(world)).toBe(3);
  });

  it('keeps no failure: what is mended goes through under the same key', async () => {
    const { post } = await setUp();
    const unknown = { entryId: '019b7d5c-0000-7000-8000-000000000000' };
    expectProblem(await post(key, unknown), 404, 'not-found');
    expectProblem(await post(key, { entryId: 7 }), 422, 'invalid-document');
    expect((await post()).statusCode).toBe(201);
  });

  it('is not used up by a dry run', async () => {
    const { world, entryId, post } = await setUp();
    const dry = await post(key, { entryId, ttlSeconds: 61 }, `${url}?dryRun=true`);
    expect(dry.json()).toMatchObject({ token: null });
    expect((await post()).statusCode).toBe(201);
    expect(await countTokens(world)).toBe(1);
  });

  it.each(['', 'a b', 'ä', 'x'.repeat(256)])('refuses the key %j', async (text) => {
    const { world, post } = await setUp();
    const problem = expectProblem(await post({ 'idempotency-key': text }), 400, 'invalid');
    expect(problem.errors?.map((error) => error.pointer)).toEqual(['/idempotency-key']);
    expect(await countTokens(world)).toBe(0);
  });

  it('leaves the key free when making fails half-way', async () => {
    const { world, entryId } = await setUp();
    const { joinTokens } = world.deps;
    let isAway = true;
    const failing: Pick<JoinTokens, 'create' | 'list' | 'delete'> = {
      list: (request) => joinTokens.list(request),
      delete: (id) => joinTokens.delete(id),
      create: (input, options) =>
        joinTokens.create(input, {
          ...options,
          alongside: async (trx, made) => {
            await options?.alongside?.(trx, made);
            if (isAway) throw new AppError('unavailable', 'The database is away.');
          },
        }),
    };
    const other = await createWorld({ deps: { joinTokens: failing, idempotency: world.deps.idempotency } });
    const post = () => other.request({ method: 'POST', url, payload: { entryId }, headers: key });
    expectProblem(await post(), 503, 'unavailable');
    expect(await countTokens(world)).toBe(0);
    isAway = false;
    expect((await post()).statusCode).toBe(201);
    expect(await countTokens(world)).toBe(1);
  });
});

describe('what makes a request the same', () => {
  async function partsOf(change: { method?: string; url?: string; body?: unknown }): Promise<readonly string[]> {
    let parts: readonly string[] = [];
    const keys: IdempotencyPort = {
      async begin(request) {
        ({ parts } = request);
        return { state: 'answered', answer: JSON.stringify({ status: 200, headers: {}, body: null }) };
      },
    };
    const headers = { authorization: 'Bearer x', 'idempotency-key': 'k' };
    const request = { method: 'POST', url: '/v1/a', body: { a: 1 }, caller: 'admin', headers, ...change };
    const reply: Record<string, unknown> = {};
    for (const name of ['header', 'headers', 'code']) reply[name] = () => reply;
    const never = { run: () => expect.unreachable(), toAnswer: () => expect.unreachable() };
    await onceForKey(keys, request as unknown as FastifyRequest, reply as unknown as FastifyReply, never);
    return parts;
  }

  it('is its method, its path and what its body says, in any order of members', async () => {
    const first = await partsOf({ body: { a: 1, b: [{ c: 2, d: 3 }, 4] } });
    expect(await partsOf({ body: { b: [{ d: 3, c: 2 }, 4], a: 1 } })).toEqual(first);
    expect(await partsOf({ body: { a: 1, b: [4, { c: 2, d: 3 }] } })).not.toEqual(first);
    const plain = await partsOf({});
    for (const change of [{ method: 'PUT' }, { url: '/v1/b' }, { body: { a: '1' } }, { body: {} }, { body: undefined }])
      expect(await partsOf(change)).not.toEqual(plain);
  });
});
