import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer, request } from 'node:http';
import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { dial, fetchHttp, keepAliveAgent, rawExchange } from './http.ts';
import { allow, startPair } from './mesh.ts';

async function readAll(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test('bodies of any size go through unchanged in both directions, and are counted', async () => {
  const application = createServer(async (req, res) => {
    const body = await readAll(req);
    res.writeHead(200, { 'content-length': body.length });
    res.end(body);
  });
  const { outbound, orders } = await startPair(application);
  const body = Buffer.alloc(3 * 1024 * 1024, 'abcdefg');
  const answer = await fetchHttp({ port: outbound.port, method: 'POST', body });
  expect(answer.text).toBe(body.toString());
  const [completion] = await orders.recorder.completed(1);
  expect(completion).toMatchObject({ status: 200, bytesIn: body.length, bytesOut: body.length });
});

test('chunked bodies keep their trailers, without those that could be mistaken for header fields', async () => {
  const application = createServer(async (req, res) => {
    const body = await readAll(req);
    res.writeHead(200, { trailer: 'x-sum' });
    res.write(`${body} ${JSON.stringify(req.trailers)}`);
    res.addTrailers({ 'x-sum': '42' });
    res.end();
  });
  const { outbound } = await startPair(application);
  const socket = await dial(outbound.port);
  const text = await rawExchange(
    socket,
    'POST / HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n' +
      '5\r\nhello\r\n0\r\nx-check: 7\r\nauthorization: Bearer evil\r\nx-forwarded-client-cert: By=evil\r\n\r\n',
  );
  expect(text).toContain('hello {"x-check":"7"}');
  expect(text).toMatch(/x-sum: 42\r\n/);
});

test('a body streams: the application sees the first bytes before the last are sent, and answers meanwhile', async () => {
  const application = createServer((req, res) => {
    res.writeHead(200);
    req.pipe(res);
  });
  const { outbound } = await startPair(application);
  const req = request({ port: outbound.port, method: 'POST', headers: { host: 'orders.shop.mesh' }, agent: false });
  req.write('first');
  const [res] = (await once(req, 'response')) as [IncomingMessage];
  const [first] = await once(res, 'data');
  expect(String(first)).toBe('first');
  req.end('last');
  expect(String(await readAll(res))).toBe('last');
});

test('a reader that stops reading stops the application', async () => {
  const chunk = Buffer.alloc(256 * 1024);
  let written = 0;
  let stalled: () => void = () => undefined;
  const stalledOnce = new Promise<void>((resolve) => {
    stalled = resolve;
  });
  const application = createServer((_req, res) => {
    const more = () => {
      while (written < 400 && res.write(chunk)) written += 1;
      const before = written;
      setTimeout(() => {
        if (written === before) stalled();
      }, 300).unref();
    };
    res.on('drain', more);
    more();
  });
  const { outbound } = await startPair(application);
  const req = request({ port: outbound.port, headers: { host: 'orders.shop.mesh' }, agent: false });
  req.end();
  const [res] = (await once(req, 'response')) as [IncomingMessage];
  res.pause();
  await stalledOnce;
  expect(written).toBeLessThan(300);
  res.destroy();
});

test('100 Continue comes from the application, and only after the call was allowed', async () => {
  const application = createServer();
  const seen: string[] = [];
  application.on('checkContinue', (req, res) => {
    seen.push('asked');
    res.writeContinue();
    req.resume().on('end', () => res.end('done'));
  });
  const { outbound, orders } = await startPair(application);
  const ask = async () => {
    const socket = await dial(outbound.port);
    let text = '';
    socket.on('data', (data) => {
      text += data.toString();
      if (text.includes('100 Continue') && !text.includes('done') && text.endsWith('\r\n\r\n')) socket.write('hello');
    });
    socket.write(
      'PUT / HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: close\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n',
    );
    await once(socket, 'close');
    return text;
  };
  expect(await ask()).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK[\s\S]*done/);
  orders.push([]);
  expect(await ask()).toMatch(/^HTTP\/1\.1 403 Forbidden/);
  expect(seen).toEqual(['asked']);
});

test('interim answers, HEAD, 204 and 304 go through as they are', async () => {
  const application = createServer((req, res) => {
    if (req.url === '/hints') res.writeEarlyHints({ link: '</a.css>; rel=preload' });
    if (req.url === '/none') res.writeHead(204).end();
    else if (req.url === '/same') res.writeHead(304, { etag: '"a"' }).end();
    else res.writeHead(200, { 'content-length': 5 }).end(req.method === 'HEAD' ? undefined : 'hello');
  });
  const { outbound } = await startPair(application);
  const agent = keepAliveAgent();
  const head = await fetchHttp({ port: outbound.port, method: 'HEAD', agent });
  expect([head.status, head.headers['content-length'], head.text]).toEqual([200, '5', '']);
  expect((await fetchHttp({ port: outbound.port, path: '/none', agent })).status).toBe(204);
  expect((await fetchHttp({ port: outbound.port, path: '/same', agent })).status).toBe(304);
  const socket = await dial(outbound.port);
  const text = await rawExchange(socket, 'GET /hints HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: close\r\n\r\n');
  expect(text).toMatch(/^HTTP\/1\.1 103 Early Hints\r\nlink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK/i);
});

test('fields that belong to one hop stay on it, also those that Connection names', async () => {
  const application = createServer((req, res) => {
    res.writeHead(200, {
      connection: 'x-secret',
      'x-secret': 'hop',
      'x-writ-rule': 'forged',
      'keep-alive': 'timeout=1',
    });
    res.end(JSON.stringify(req.rawHeaders));
  });
  const { outbound } = await startPair(application);
  const answer = await fetchHttp({
    port: outbound.port,
    headers: {
      connection: 'close, x-hop',
      'x-hop': '1',
      'proxy-authorization': 'Basic eA==',
      te: 'gzip',
      upgrade: 'h2c',
    },
  });
  const fields = (JSON.parse(answer.text) as string[]).filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
  expect(fields.sort()).toEqual(['connection', 'host', 'traceparent', 'x-forwarded-client-cert']);
  expect(answer.headers['x-secret']).toBeUndefined();
  expect(answer.headers['x-writ-rule']).toBeUndefined();
});

test('a caller that goes away ends the request at the application', async () => {
  let closed: () => void = () => undefined;
  const gone = new Promise<void>((resolve) => {
    closed = resolve;
  });
  const application = createServer((_req, res) => {
    res.writeHead(200);
    res.write('x');
    res.on('close', closed);
  });
  const { outbound, orders } = await startPair(application);
  const req = request({ port: outbound.port, headers: { host: 'orders.shop.mesh' }, agent: false });
  req.on('error', () => undefined);
  req.end();
  const [res] = (await once(req, 'response')) as [IncomingMessage];
  res.on('error', () => undefined);
  await once(res, 'data');
  req.destroy();
  await gone;
  const [completion] = await orders.recorder.completed(1);
  expect(completion).toMatchObject({ status: 0, bytesOut: 1 });
});

test('an answer that breaks off breaks off at the caller too', async () => {
  const application = createServer((req, res) => {
    res.writeHead(200, req.url === '/length' ? { 'content-length': 100 } : {});
    res.write('part', () => res.destroy());
  });
  const { outbound } = await startPair(application);
  await expect(fetchHttp({ port: outbound.port, path: '/length' })).rejects.toThrow(/aborted|hang up/);
  await expect(fetchHttp({ port: outbound.port, path: '/chunked' })).rejects.toThrow(/aborted|hang up/);
});

test('an application that is away is a 502, and the record says so', async () => {
  const application = createServer((_req, res) => res.socket?.destroy());
  const { outbound, orders } = await startPair(application);
  const answer = await fetchHttp({ port: outbound.port });
  expect(answer.status).toBe(502);
  expect(JSON.parse(answer.text)).toMatchObject({ code: 'unavailable', detail: 'The application did not answer.' });
  expect(await orders.recorder.completed(1)).toMatchObject([{ status: 502 }]);
});

test('an early answer does not turn the rest of the body into a request', async () => {
  const application = createServer((_req, res) => res.writeHead(413).end('too much'));
  const { outbound, orders } = await startPair(application);
  const socket = await dial(outbound.port);
  const text = await rawExchange(
    socket,
    `POST / HTTP/1.1\r\nHost: orders.shop.mesh\r\nContent-Length: 1000\r\n\r\nGET /evil HTTP/1.1\r\nHost: orders.shop.mesh\r\n\r\n`,
  );
  expect(text).toMatch(/^HTTP\/1\.1 413/);
  expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  expect(orders.recorder.decisions).toHaveLength(1);
});

test('a WebSocket upgrade is decided once, then carries bytes both ways', async () => {
  const application = createServer();
  application.on('upgrade', (req: IncomingMessage, socket: Socket, first: Buffer) => {
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nx-url: ${req.url}\r\n\r\n`,
    );
    if (first.length > 0) socket.write(first);
    socket.pipe(socket);
  });
  const { outbound, orders } = await startPair(application);
  const ask = async () => {
    const socket = await dial(outbound.port);
    socket.write(
      'GET /chat HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nearly',
    );
    return socket;
  };
  const socket = await ask();
  let text = '';
  socket.on('data', (data) => {
    text += data.toString();
    if (text.endsWith('early')) socket.write('later');
    if (text.endsWith('later')) socket.end();
  });
  await once(socket, 'close');
  expect(text).toMatch(/^HTTP\/1\.1 101 [\s\S]*x-url: \/chat\r\n\r\nearlylater$/);
  expect(await orders.recorder.completed(1)).toMatchObject([{ status: 101, bytesIn: 10, bytesOut: 10 }]);

  orders.push([]);
  const refused = await ask();
  let answer = '';
  refused.on('data', (data) => {
    answer += data.toString();
  });
  await once(refused, 'close');
  expect(answer).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
});

test('an upgrade that the application declines is an ordinary answer', async () => {
  const { outbound, orders } = await startPair(createServer((_req, res) => res.writeHead(426).end('no')));
  const socket = await dial(outbound.port);
  const text = await rawExchange(
    socket,
    'GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  );
  expect(text).toMatch(/^HTTP\/1\.1 426 [\s\S]*\r\nno\r\n/);
  expect(await orders.recorder.completed(1)).toMatchObject([{ status: 426 }]);
});

test('CVE-2026-73548: h2c is no upgrade: the request is served as it is, and nothing can follow that was not decided', async () => {
  const application = createServer((req, res) => res.end(JSON.stringify(req.headers)));
  application.on('upgrade', (_req, socket) => socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\nOWNED'));
  const { outbound } = await startPair(application);
  const socket = await dial(outbound.port);
  const text = await rawExchange(
    socket,
    'GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n',
  );
  expect(text).toMatch(/^HTTP\/1\.1 200/);
  expect(text).not.toMatch(/upgrade|http2-settings|OWNED/i);
});

test('pipelined requests are answered in order, each decided', async () => {
  const { outbound, orders } = await startPair(
    createServer((req, res) => res.end(`<${req.url}>`)),
    {
      policies: [
        allow('example.org/ns/shop/sa/web', [{ methods: [], paths: [{ kind: 'prefix', value: '/ok' }], ports: [] }]),
      ],
    },
  );
  const socket = await dial(outbound.port);
  const get = (path: string, last = false) =>
    `GET ${path} HTTP/1.1\r\nHost: orders.shop.mesh\r\n${last ? 'Connection: close\r\n' : ''}\r\n`;
  const text = await rawExchange(socket, get('/ok/1') + get('/no') + get('/ok/2', true));
  expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])).toEqual(['200', '403', '200']);
  expect(text.indexOf('</ok/1>')).toBeLessThan(text.indexOf('</ok/2>'));
  expect(orders.recorder.decisions.map((decision) => decision.path)).toEqual(['/ok/1', '/no', '/ok/2']);
});

test('requests of one caller reuse one connection to the application', async () => {
  const sockets = new Set<Socket>();
  const { outbound } = await startPair(
    createServer((req, res) => {
      sockets.add(req.socket);
      res.end();
    }),
  );
  for (const method of ['GET', 'POST', 'DELETE', 'GET']) {
    await fetchHttp({ port: outbound.port, method, ...(method === 'POST' ? { body: 'x' } : {}) });
  }
  expect(sockets.size).toBe(1);
});

test('a connection that the application closed while idle costs no call', async () => {
  const sockets: Socket[] = [];
  const { outbound, orders } = await startPair(
    createServer((req, res) => {
      if (sockets.includes(req.socket)) {
        req.socket.destroy();
        return;
      }
      sockets.push(req.socket);
      res.end('ok');
    }),
  );
  expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
  expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
  expect(sockets).toHaveLength(2);
  expect(orders.recorder.decisions).toHaveLength(2);
});
