import { once } from 'node:events';
import { createServer } from 'node:http';
import { expect, test } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { signJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { FakeClock } from '../../support/clock.ts';
import { dialTls, fetchHttp, keepAliveAgent } from './http.ts';
import { ORDERS, startPair, WEB } from './mesh.ts';

test('the decision is durable before the application sees the request', async () => {
  const order: string[] = [];
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { outbound, orders } = await startPair(
    createServer((_req, res) => {
      order.push('application');
      res.end();
    }),
  );
  let asked: () => void = () => undefined;
  const decided = new Promise<void>((resolve) => {
    asked = resolve;
  });
  orders.recorder.beforeDurable = async (event) => {
    if (event.kind !== 'decision') return;
    asked();
    await held;
    order.push('durable');
  };
  const answer = fetchHttp({ port: outbound.port });
  await decided;
  // Time enough for a request that did not wait.
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(order).toEqual([]);
  release();
  expect((await answer).status).toBe(200);
  expect(order).toEqual(['durable', 'application']);
});

test('a decision that cannot be recorded is a refusal, and nothing is forwarded', async () => {
  let reached = 0;
  const { outbound, orders } = await startPair(
    createServer((_req, res) => {
      reached += 1;
      res.end();
    }),
  );
  orders.recorder.beforeDurable = async () => {
    throw new AppError('audit-unavailable', 'The disk is full.');
  };
  const answer = await fetchHttp({ port: outbound.port, method: 'POST', body: 'x' });
  expect(answer.status).toBe(503);
  expect(answer.headers['x-writ-reason']).toBe('audit-unavailable');
  expect(JSON.parse(answer.text)).toMatchObject({ code: 'audit-unavailable' });
  expect(reached).toBe(0);
  orders.recorder.beforeDurable = async () => undefined;
  expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
});

test('without a first policy every call is refused, on the record', async () => {
  const { outbound, orders } = await startPair(createServer((_req, res) => res.end()));
  orders.policy.set(undefined);
  const answer = await fetchHttp({ port: outbound.port });
  expect([answer.status, answer.headers['x-writ-reason']]).toEqual([503, 'no-policy']);
  expect(orders.recorder.decisions).toMatchObject([{ decision: 'deny', reason: 'no-policy', policyRevision: 0 }]);
});

test('with an expired certificate of its own a sidecar refuses what still comes in on open connections', async () => {
  const clock = new FakeClock(Date.now());
  const { outbound, orders, authority } = await startPair(
    createServer((_req, res) => res.end()),
    { clock },
  );
  const agent = keepAliveAgent();
  expect((await fetchHttp({ port: outbound.port, agent })).status).toBe(200);
  // Not the caller's: only the called sidecar failed to renew.
  orders.identity.set({ ...authority.issue(ORDERS), notAfter: clock.now() - 1 });
  const answer = await fetchHttp({ port: outbound.port, agent });
  expect([answer.status, answer.headers['x-writ-reason']]).toEqual([503, 'no-identity']);
});

test('a connection does not outlive the certificate that opened it', async () => {
  const clock = new FakeClock(Date.now());
  const { outbound, orders, web } = await startPair(
    createServer((_req, res) => res.end()),
    { clock },
  );
  expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
  await clock.advance(2 * 3_600_000);
  const answer = await fetchHttp({ port: outbound.port });
  // web's own certificate is too old now, so it does not even try.
  expect(answer.status).toBe(503);
  expect(orders.recorder.decisions).toHaveLength(1);
  expect(web.recorder.events).toEqual([]);
});

test('a call on a connection whose certificate has expired meanwhile is refused, and the connection ends', async () => {
  const clock = new FakeClock(Date.now());
  let reached = 0;
  const application = createServer((_req, res) => {
    reached += 1;
    res.end();
  });
  const { inbound, orders, authority } = await startPair(application, { clock });
  const socket = await dialTls(inbound.port, authority.issue(WEB).pem);
  let text = '';
  socket.on('data', (data) => {
    text += data.toString();
  });
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await expect.poll(() => text).toMatch(/^HTTP\/1\.1 200 /);
  // The called sidecar has renewed its own.
  orders.identity.set({ ...authority.issue(ORDERS), notAfter: clock.now() + 10 * 3_600_000 });
  await clock.advance(2 * 3_600_000);
  text = '';
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await once(socket, 'close');
  expect(text).toMatch(/^HTTP\/1\.1 401 /);
  expect(reached).toBe(1);
});

async function tokenFor(audience: string, pair: Awaited<ReturnType<typeof startPair>>, subject = WEB): Promise<string> {
  const { jwt } = pair.authority;
  const issued = await signJwtSvid({
    id: parseSpiffeId(subject),
    audience: [audience],
    ...jwt,
    now: Date.now(),
    ttlSeconds: 300,
  });
  return issued.token;
}

test('a JWT-SVID for this workload is verified and its subject recorded, and the application gets it too', async () => {
  const pair = await startPair(createServer((req, res) => res.end(req.headers.authorization)));
  const token = await tokenFor(ORDERS, pair, 'spiffe://example.org/ns/shop/sa/batch');
  for (let i = 0; i < 2; i++) {
    const answer = await fetchHttp({ port: pair.outbound.port, headers: { authorization: `Bearer ${token}` } });
    expect([answer.status, answer.text]).toEqual([200, `Bearer ${token}`]);
  }
  const subject = 'spiffe://example.org/ns/shop/sa/batch';
  expect(pair.orders.recorder.decisions).toMatchObject([
    { tokenSubject: subject, source: WEB },
    { tokenSubject: subject, source: WEB },
  ]);
});

test('a JWT-SVID for somebody else, or tampered with, is refused with 401 and never reaches the application', async () => {
  let reached = 0;
  const pair = await startPair(
    createServer((_req, res) => {
      reached += 1;
      res.end();
    }),
  );
  const good = await tokenFor(ORDERS, pair);
  const [head, body, signature] = good.split('.');
  const none = Buffer.from(JSON.stringify({ alg: 'none', kid: pair.authority.jwt.kid })).toString('base64url');
  for (const token of [
    await tokenFor('spiffe://example.org/ns/shop/sa/payments', pair),
    `${head}.${body}.${signature?.slice(0, -4)}AAAA`,
    `${none}.${body}.`,
  ]) {
    const answer = await fetchHttp({ port: pair.outbound.port, headers: { authorization: `Bearer ${token}` } });
    expect([answer.status, answer.headers['x-writ-reason']]).toEqual([401, 'token-refused']);
    expect(answer.headers['www-authenticate']).toBe('Bearer error="invalid_token"');
  }
  expect(reached).toBe(0);
  expect(pair.orders.recorder.decisions.map((decision) => decision.reason)).toEqual(Array(3).fill('token-refused'));
});

test("other tokens are the application's business", async () => {
  const pair = await startPair(createServer((req, res) => res.end(req.headers.authorization)));
  for (const value of ['Bearer opaque', 'Basic eDp5', 'Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln']) {
    const answer = await fetchHttp({ port: pair.outbound.port, headers: { authorization: value } });
    expect([answer.status, answer.text]).toEqual([200, value]);
  }
});
