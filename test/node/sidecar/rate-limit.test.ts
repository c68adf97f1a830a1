import { createServer } from 'node:http';
import { createServer as createTcp } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RateLimit } from '../../../src/core/policy/rate-limit.ts';
import { RateLimiter } from '../../../src/node/sidecar/checks/rate-limit.ts';
import { FakeClock } from '../../support/clock.ts';
import { dial, fetchHttp, rawExchange } from './http.ts';
import { allow, exact, ORDERS, startPair, WEB } from './mesh.ts';

function limit(o: Partial<RateLimit>): RateLimit {
  return { namespace: 'shop', name: 'orders', revision: 3, selector: {}, overrides: [], ...o };
}

const perSecond = (requests: number) => ({ requests, periodMs: 1_000 });
const caller = (name: string) => `spiffe://example.org/ns/shop/sa/${name}`;

/** How many of `tries` calls come in. */
function letIn(limiter: RateLimiter, limits: readonly RateLimit[], source: string, tries: number): number {
  let count = 0;
  for (let i = 0; i < tries; i++) if (limiter.take(limits, source) === undefined) count += 1;
  return count;
}

describe('a rate limit', () => {
  test('lets in as many calls as it says at once, and evenly as many in each period after it', () => {
    const clock = new FakeClock(0);
    const limiter = new RateLimiter(clock);
    const limits = [limit({ total: { requests: 4, periodMs: 60_000 } })];
    expect(letIn(limiter, limits, WEB, 10)).toBe(4);
    expect(limiter.take(limits, WEB)).toEqual({ rule: 'shop/orders@3', retryAfterSeconds: 15 });
    clock.jump(14_999);
    expect(letIn(limiter, limits, WEB, 10)).toBe(0);
    clock.jump(1);
    expect(letIn(limiter, limits, WEB, 10)).toBe(1);
    clock.jump(3_600_000);
    expect(letIn(limiter, limits, WEB, 10)).toBe(4);
  });

  test('never lets in more than its rate allows, whenever the calls come', () => {
    const steps = fc.array(
      fc.record({ ms: fc.integer({ min: -500, max: 2_000 }), tries: fc.integer({ max: 20, min: 0 }) }),
    );
    fc.assert(
      fc.property(
        steps,
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 1, max: 5_000 }),
        (list, requests, periodMs) => {
          const clock = new FakeClock(1_000_000);
          const limiter = new RateLimiter(clock);
          const limits = [limit({ perSource: { requests, periodMs } })];
          let passed = 0;
          let forward = 0;
          for (const { ms, tries } of list) {
            clock.jump(ms);
            forward += Math.max(0, ms);
            passed += letIn(limiter, limits, WEB, tries);
            expect(passed).toBeLessThanOrEqual(requests + (forward * requests) / periodMs + 1e-6);
          }
        },
      ),
      { numRuns: 200, seed: 7 },
    );
  });

  test('of each source counts them apart; an override holds instead, the first that matches', () => {
    const limiter = new RateLimiter(new FakeClock(0));
    const limits = [
      limit({
        perSource: perSecond(2),
        overrides: [
          { principals: [exact('example.org/ns/shop/sa/batch')], rate: perSecond(1) },
          { principals: [{ kind: 'prefix', value: 'example.org/ns/shop/sa/b' }], rate: perSecond(5) },
          { principals: [exact('example.org/ns/shop/sa/bot')], rate: perSecond(9) },
        ],
      }),
    ];
    expect(letIn(limiter, limits, caller('web'), 10)).toBe(2);
    expect(letIn(limiter, limits, caller('api'), 10)).toBe(2);
    expect(letIn(limiter, limits, caller('batch'), 10)).toBe(1);
    expect(letIn(limiter, limits, caller('bot'), 10)).toBe(5);
    // Everybody without a certificate is one caller.
    expect(letIn(limiter, limits, '', 10)).toBe(2);
  });

  test('counts a call nowhere that another one stands against', () => {
    const limiter = new RateLimiter(new FakeClock(0));
    const limits = [
      limit({ total: perSecond(3), perSource: perSecond(1) }),
      limit({ name: 'wide', total: perSecond(9) }),
    ];
    expect(letIn(limiter, limits, caller('greedy'), 100)).toBe(1);
    expect(['a', 'b', 'c'].map((name) => letIn(limiter, limits, caller(name), 1))).toEqual([1, 1, 0]);
  });

  test('that is changed keeps what it has counted, and one that is gone is forgotten', () => {
    const limiter = new RateLimiter(new FakeClock(0));
    expect(letIn(limiter, [limit({ total: perSecond(2) })], WEB, 9)).toBe(2);
    const changed = [limit({ revision: 4, total: perSecond(20) })];
    expect(limiter.take(changed, WEB)?.rule).toBe('shop/orders@4');
    expect(letIn(limiter, [limit({ name: 'other', total: perSecond(1) })], WEB, 9)).toBe(1);
    expect(letIn(limiter, changed, WEB, 99)).toBe(20);
  });

  test('an override for a service account is for no identity that only ends like one', () => {
    const limiter = new RateLimiter(new FakeClock(0));
    const account = { kind: 'suffix', value: '/ns/shop/sa/web' } as const;
    const limits = [limit({ perSource: perSecond(1), overrides: [{ principals: [account], rate: perSecond(5) }] })];
    expect(letIn(limiter, limits, 'spiffe://partner.example/ns/shop/sa/web', 9)).toBe(5);
    expect(letIn(limiter, limits, 'spiffe://example.org/team/x/ns/shop/sa/web', 9)).toBe(1);
  });

  test('counts those who are nobody by themselves: they take nothing from callers that are not counted one by one', () => {
    const limiter = new RateLimiter(new FakeClock(0));
    const limits = [limit({ perSource: perSecond(2) })];
    for (let i = 0; i < 9_999; i++) limiter.take(limits, caller(`a${i}`));
    expect(letIn(limiter, limits, '', 5)).toBe(2);
    expect(letIn(limiter, limits, caller('one-too-many'), 5)).toBe(2);
    expect(letIn(limiter, limits, '', 5)).toBe(0);
  });

  test('holds for more sources than are counted one by one: the others share one count', () => {
    const clock = new FakeClock(0);
    const limiter = new RateLimiter(clock);
    const limits = [limit({ perSource: { requests: 1, periodMs: 60_000 } })];
    let passed = 0;
    for (let i = 0; i < 12_000; i++) passed += letIn(limiter, limits, caller(`s${i}`), 1);
    expect(passed).toBe(10_001);
    expect(letIn(limiter, limits, caller('s0'), 1)).toBe(0);
    // Whoever may have all calls again makes room.
    clock.jump(60_000);
    expect(letIn(limiter, limits, caller('new'), 1)).toBe(1);
    expect(letIn(limiter, limits, caller('newer'), 1)).toBe(1);
  });
});

test('a call too many is refused with 429 and Retry-After, on the record, and the application does not see it', async () => {
  const clock = new FakeClock(Date.now());
  let reached = 0;
  const { outbound, orders } = await startPair(
    createServer((_req, res) => {
      reached += 1;
      res.end();
    }),
    { clock },
  );
  const rateLimits = [limit({ perSource: { requests: 2, periodMs: 10_000 } })];
  orders.push([allow()], [], { rateLimits });
  const statuses = [];
  for (let i = 0; i < 3; i++) statuses.push((await fetchHttp({ port: outbound.port })).status);
  expect(statuses).toEqual([200, 200, 429]);
  const answer = await fetchHttp({ port: outbound.port });
  expect(answer.headers).toMatchObject({ 'retry-after': '5', 'x-writ-reason': 'rate-limited' });
  expect(answer.headers['x-writ-rule']).toBe('shop/orders@3');
  expect(JSON.parse(answer.text)).toMatchObject({ status: 429, code: 'exhausted', reason: 'rate-limited' });
  expect(orders.recorder.decisions.at(-1)).toMatchObject({
    decision: 'deny',
    reason: 'rate-limited',
    rule: 'shop/orders@3',
    source: WEB,
    destination: ORDERS,
  });
  expect(reached).toBe(2);
  // A new revision of the policies is no new beginning.
  orders.push([allow()], [], { rateLimits: [...rateLimits] });
  expect((await fetchHttp({ port: outbound.port })).status).toBe(429);
  await clock.advance(5_000);
  expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
});

test('calls that are refused anyway use nothing up', async () => {
  const { outbound, orders } = await startPair(createServer((_req, res) => res.end()));
  const rateLimits = [limit({ total: { requests: 1, periodMs: 86_400_000 } })];
  orders.push([], [], { rateLimits });
  for (let i = 0; i < 3; i++) expect((await fetchHttp({ port: outbound.port })).status).toBe(403);
  orders.push([allow()], [], { rateLimits });
  expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
});

test('a TCP connection is one call', async () => {
  const { outbound, orders } = await startPair(
    createTcp((socket) => socket.end('served')),
    { protocol: 'tcp' },
  );
  orders.push([allow()], [], { rateLimits: [limit({ total: { requests: 1, periodMs: 86_400_000 } })] });
  const ask = async () =>
    await rawExchange(await dial(outbound.port), 'CONNECT orders.shop.mesh:1 HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(await ask()).toMatch(/served$/);
  expect(await ask()).not.toMatch(/served/);
  expect(orders.recorder.decisions.map(({ reason }) => reason)).toEqual(['allow-rule', 'rate-limited']);
});
