import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer, request } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2 } from 'node:http2';
import { expect, onTestFinished, test } from 'vitest';
import { fetchHttp, keepAliveAgent } from './http.ts';
import { allow, service, startPair } from './mesh.ts';

test('new certificates on both sides drop neither a long call nor a keep-alive connection', async () => {
  let finish: () => void = () => undefined;
  const { outbound, web, orders } = await startPair(
    createServer((req, res) => {
      if (req.url !== '/long') return void res.end('ok');
      res.writeHead(200);
      res.write('first ');
      finish = () => res.end('last');
    }),
  );
  const agent = keepAliveAgent();
  expect((await fetchHttp({ port: outbound.port, agent })).text).toBe('ok');
  const req = request({ port: outbound.port, path: '/long', headers: { host: 'orders.shop.mesh' }, agent: false });
  req.end();
  const [res] = (await once(req, 'response')) as [IncomingMessage];
  let long = '';
  res.on('data', (data: Buffer) => {
    long += data.toString();
  });
  await once(res, 'data');

  const before = orders.recorder.decisions.at(-1)?.certificateSerial;
  web.rotate();
  orders.rotate();
  for (let i = 0; i < 5; i++) expect((await fetchHttp({ port: outbound.port, agent })).text).toBe('ok');
  const after = orders.recorder.decisions.at(-1)?.certificateSerial;
  expect(after).not.toBe(before);

  finish();
  await once(res, 'end');
  expect(long).toBe('first last');
});

test('calls that are under way while certificates change all succeed', async () => {
  const { outbound, web, orders } = await startPair(
    createServer((req, res) => {
      req.resume().on('end', () => res.end('ok'));
    }),
  );
  const agent = keepAliveAgent();
  agent.maxSockets = 8;
  const statuses: number[] = [];
  const callers = Array.from({ length: 8 }, async () => {
    while (statuses.length < 120) {
      const answer = await fetchHttp({ port: outbound.port, method: 'POST', body: 'x', agent });
      statuses.push(answer.status);
      if (statuses.length % 40 === 10) web.rotate();
      if (statuses.length % 40 === 30) orders.rotate();
    }
  });
  await Promise.all(callers);
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
});

test('over HTTP/2, streams that are open stay, and new ones use the new certificate', async () => {
  let finish: () => void = () => undefined;
  const application = createHttp2();
  application.on('stream', (stream, headers) => {
    stream.respond({ ':status': 200 });
    if (headers[':path'] !== '/long') return void stream.end('ok');
    stream.write('first ');
    finish = () => stream.end('last');
  });
  const { outbound, web, orders } = await startPair(application);
  const session = connectHttp2(`http://127.0.0.1:${outbound.port}`);
  onTestFinished(() => session.destroy());
  const get = (path: string) => session.request({ ':path': path, ':authority': 'orders.shop.mesh' });
  const long = get('/long');
  let text = '';
  long.on('data', (data: Buffer) => {
    text += data.toString();
  });
  await once(long, 'data');
  web.rotate();
  for (let i = 0; i < 3; i++) {
    const next = get('/');
    const [headers] = await once(next, 'response');
    expect(headers[':status']).toBe(200);
    next.resume();
    await once(next, 'close');
  }
  const serials = new Set(orders.recorder.decisions.map((decision) => decision.certificateSerial));
  expect(serials.size).toBe(2);
  finish();
  await once(long, 'close');
  expect(text).toBe('first last');
});

test('a policy push changes neither connections nor certificates in use', async () => {
  const { outbound, web, orders, inbound } = await startPair(createServer((_req, res) => res.end('ok')));
  await fetchHttp({ port: outbound.port });
  web.push([], [service('orders', [{ port: inbound.port }])]);
  orders.push([allow()]);
  await fetchHttp({ port: outbound.port });
  const [first, second] = orders.recorder.decisions;
  expect(first?.certificateSerial).toBe(second?.certificateSerial);
});

test('a stopping sidecar finishes what is in flight and takes nothing new', async () => {
  let finish: (() => void) | undefined;
  const { outbound, inbound } = await startPair(
    createServer((req, res) => {
      if (req.url === '/long') finish = () => res.end('done');
      else res.end('ok');
    }),
  );
  await fetchHttp({ port: outbound.port });
  const long = fetchHttp({ port: outbound.port, path: '/long' });
  await expect.poll(() => finish).toBeDefined();
  const drained = inbound.drain(5_000);
  const refused = await fetchHttp({ port: outbound.port });
  expect(refused.status).toBe(502);
  finish?.();
  expect((await long).text).toBe('done');
  await drained;
});

test('what is still in flight after the time to drain is cut', async () => {
  const { outbound, inbound } = await startPair(createServer(() => undefined));
  const hanging = fetchHttp({ port: outbound.port });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const started = Date.now();
  await inbound.drain(100);
  expect(Date.now() - started).toBeLessThan(2_000);
  expect((await hanging).status).toBe(502);
});
