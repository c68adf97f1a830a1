import { once } from 'node:events';
import { createServer as createHttp } from 'node:http';
import type { Socket } from 'node:net';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { dial, dialTls } from './http.ts';
import { allow, startPair, WEB } from './mesh.ts';

/** Sends what it has read once the other side has finished sending: works only where halves close by themselves. */
function echoAtEnd() {
  return createServer({ allowHalfOpen: true }, (socket) => {
    let text = '';
    socket.on('data', (data) => {
      text += data.toString();
    });
    socket.on('end', () => socket.end(`<${text}>`));
  });
}

async function tunnelTo(port: number, target = 'orders.shop.mesh:5432'): Promise<{ socket: Socket; head: string }> {
  const socket = await dial(port);
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  let head = '';
  while (!head.includes('\r\n\r\n')) {
    const [data] = (await once(socket, 'data')) as [Buffer];
    head += data.toString();
  }
  return { socket, head };
}

async function readToEnd(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (data: Buffer) => {
    text += data.toString();
  });
  await once(socket, 'close');
  return text;
}

test('CONNECT carries bytes both ways over mTLS, and the call is recorded', async () => {
  const { outbound, orders } = await startPair(echoAtEnd(), { protocol: 'tcp' });
  const { socket, head } = await tunnelTo(outbound.port);
  expect(head).toMatch(/^HTTP\/1\.1 200 /);
  socket.end('hello');
  expect(await readToEnd(socket)).toBe('<hello>');
  expect(await orders.recorder.completed(1)).toMatchObject([{ status: 0, bytesIn: 5, bytesOut: 7 }]);
  expect(orders.recorder.decisions).toMatchObject([
    { protocol: 'tcp', method: '', path: '', host: '', source: WEB, decision: 'allow', rule: 'shop/allow@7#0' },
  ]);
});

test('large streams go through whole', async () => {
  const { outbound } = await startPair(
    createServer((socket) => socket.pipe(socket)),
    { protocol: 'tcp' },
  );
  const { socket } = await tunnelTo(outbound.port);
  const block = Buffer.alloc(64 * 1024, 'z');
  let received = 0;
  socket.on('data', (data: Buffer) => {
    received += data.length;
    if (received === 100 * block.length) socket.end();
  });
  for (let i = 0; i < 100; i++) socket.write(block);
  await once(socket, 'close');
  expect(received).toBe(100 * block.length);
});

test('a refused connection is closed at once, and the application sees nothing', async () => {
  let reached = 0;
  const application = createServer(() => {
    reached += 1;
  });
  const { inbound, outbound, orders, authority } = await startPair(application, { protocol: 'tcp', policies: [] });
  const { socket } = await tunnelTo(outbound.port);
  socket.on('error', () => undefined);
  expect(await readToEnd(socket)).toBe('');
  const direct = await dialTls(inbound.port, authority.issue(WEB).pem);
  direct.on('error', () => undefined);
  expect(await readToEnd(direct)).toBe('');
  expect(reached).toBe(0);
  await orders.recorder.completed(2);
  expect(orders.recorder.decisions).toMatchObject([
    { decision: 'deny', reason: 'default-deny' },
    { decision: 'deny', reason: 'default-deny' },
  ]);
});

test('a rule that names methods or paths does not open a TCP port', async () => {
  const web = 'example.org/ns/shop/sa/web';
  const { outbound, orders } = await startPair(echoAtEnd(), {
    protocol: 'tcp',
    policies: [allow(web, [{ methods: [{ kind: 'present' }], paths: [], ports: [] }])],
  });
  const { socket } = await tunnelTo(outbound.port);
  socket.on('error', () => undefined);
  expect(await readToEnd(socket)).toBe('');
  expect(orders.recorder.decisions).toMatchObject([{ decision: 'deny' }]);
});

test('a connection whose decision cannot be recorded is closed', async () => {
  let reached = 0;
  const { outbound, orders } = await startPair(
    createServer(() => {
      reached += 1;
    }),
    { protocol: 'tcp' },
  );
  orders.recorder.beforeDurable = async () => {
    throw new AppError('audit-unavailable', 'full');
  };
  const { socket } = await tunnelTo(outbound.port);
  socket.on('error', () => undefined);
  expect(await readToEnd(socket)).toBe('');
  expect(reached).toBe(0);
});

test('CONNECT finds TCP endpoints only, and HTTP requests find HTTP endpoints only', async () => {
  const http = await startPair(createHttp((_req, res) => res.end()));
  expect((await tunnelTo(http.outbound.port)).head).toMatch(/^HTTP\/1\.1 503 /);
  expect((await tunnelTo(http.outbound.port, 'nobody.shop.mesh:1')).head).toMatch(/^HTTP\/1\.1 404 /);
  expect((await tunnelTo(http.outbound.port, '127.0.0.1:22')).head).toMatch(/^HTTP\/1\.1 404 /);
});
