import { createServer } from 'node:http';
import { expect, test } from 'vitest';
import { fetchHttp, keepAliveAgent } from './http.ts';
import { allow, exact, ORDERS, policy, startPair, WEB } from './mesh.ts';

test('a call goes through both sidecars and the application sees who called', async () => {
  const { inbound, outbound, orders } = await startPair(
    createServer((req, res) => res.end(JSON.stringify({ url: req.url, headers: req.headers }))),
  );
  const answer = await fetchHttp({
    port: outbound.port,
    path: '/a//b?x=1',
    headers: { 'x-forwarded-client-cert': 'By=evil' },
  });

  expect(answer.status).toBe(200);
  const seen = JSON.parse(answer.text);
  expect(seen.url).toBe('/a/b?x=1');
  expect(seen.headers.host).toBe('orders.shop.mesh');
  expect(seen.headers['x-forwarded-client-cert']).toMatch(new RegExp(`^By=${ORDERS};Hash=[0-9a-f]{64};URI=${WEB}$`));
  expect(seen.headers.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  expect(inbound.port).toBeGreaterThan(0);

  await orders.recorder.completed(1);
  expect(orders.recorder.events).toEqual([
    {
      kind: 'decision',
      call: expect.any(String),
      time: expect.any(Number),
      source: WEB,
      destination: ORDERS,
      protocol: 'http',
      method: 'GET',
      host: 'orders.shop.mesh',
      path: '/a/b',
      port: expect.any(Number),
      decision: 'allow',
      reason: 'allow-rule',
      rule: 'shop/allow@7#0',
      policyRevision: 2,
      traceId: seen.headers.traceparent.slice(3, 35),
      tokenSubject: '',
      certificateSerial: expect.stringMatching(/^[0-9a-f]+$/),
    },
    {
      kind: 'completion',
      call: orders.recorder.decisions[0]?.call,
      time: expect.any(Number),
      status: 200,
      durationMs: expect.any(Number),
      bytesIn: 0,
      bytesOut: Buffer.byteLength(answer.text),
    },
  ]);
});

test('a refused call gets 403 with the rule and never reaches the application', async () => {
  let reached = 0;
  const application = createServer((_req, res) => {
    reached += 1;
    res.end();
  });
  const deny = policy('no-admin', 'DENY', [
    { from: [], to: [{ methods: [], paths: [{ kind: 'prefix', value: '/admin' }], ports: [] }] },
  ]);
  const { outbound, orders } = await startPair(application, { policies: [allow(), deny] });
  const answer = await fetchHttp({ port: outbound.port, path: '/x/..%2Fadmin', method: 'POST', body: 'hello' });

  expect(answer.status).toBe(403);
  expect(answer.headers['x-writ-rule']).toBe('shop/no-admin@7#0');
  expect(answer.headers['x-writ-reason']).toBe('deny-rule');
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(JSON.parse(answer.text)).toMatchObject({
    title: 'Forbidden',
    status: 403,
    code: 'forbidden',
    rule: 'shop/no-admin@7#0',
    reason: 'deny-rule',
  });
  expect(reached).toBe(0);
  await orders.recorder.completed(1);
  expect(orders.recorder.decisions).toMatchObject([{ decision: 'deny', path: '/admin', reason: 'deny-rule' }]);
  expect(orders.recorder.completions).toMatchObject([{ status: 403 }]);
});

test('a policy change binds the next request on an open connection', async () => {
  const { outbound, orders } = await startPair(createServer((_req, res) => res.end('ok')));
  const agent = keepAliveAgent();
  expect((await fetchHttp({ port: outbound.port, agent })).status).toBe(200);
  orders.push([]);
  expect((await fetchHttp({ port: outbound.port, agent })).status).toBe(403);
  orders.push([allow('example.org/ns/shop/sa/web', [{ methods: [exact('GET')], paths: [], ports: [] }])]);
  expect((await fetchHttp({ port: outbound.port, agent })).status).toBe(200);
});
