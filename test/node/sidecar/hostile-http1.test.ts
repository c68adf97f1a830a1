import { once } from 'node:events';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { tunnel } from '../../../src/node/sidecar/tunnel.ts';
import { dial, dialTls, rawExchange } from './http.ts';
import { type Pair, serve, startPair, WEB } from './mesh.ts';

/** Callers and applications that leave, overtake, or answer with what HTTP/1.1 does not have. */

const HOST = 'Host: orders.shop.mesh\r\n';
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';
const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\n${HOST}${fields}\r\n`;

interface Application {
  readonly requests: string[];
  readonly open: Set<Socket>;
}

/** Gives `answer` the connection with the first bytes of each request. */
async function start(answer: (text: string, socket: Socket) => void): Promise<Pair & Application> {
  const requests: string[] = [];
  const open = new Set<Socket>();
  const application = createServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      requests.push(chunk.toString('latin1'));
      answer(chunk.toString('latin1'), socket);
    });
  });
  const pair = await startPair(application as Server as never);
  return { ...pair, requests, open };
}

async function caller(pair: Pair): Promise<Socket> {
  const socket = await dialTls(pair.inbound.port, pair.authority.issue(WEB).pem);
  socket.on('error', () => undefined);
  return socket;
}

const answer200 = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow';
const answer426 = 'HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno';

test.each(['inbound', 'outbound'] as const)(
  'an upgrade while an earlier call is open is refused, after the answer to that call (%s)',
  async (side) => {
    const pair = await start((text, socket) => {
      if (text.includes('/ws')) socket.write(answer426);
      else setTimeout(() => socket.write(answer200), 200);
    });
    const socket = side === 'inbound' ? await caller(pair) : await dial(pair.outbound.port);
    const text = await rawExchange(socket, get('/slow').repeat(12) + get('/ws', UPGRADE));
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual([...Array(12).fill('HTTP/1.1 200'), 'HTTP/1.1 400']);
    expect(pair.requests.join('')).not.toContain('/ws');
    const reasons = pair.orders.recorder.decisions.map((decision) => decision.reason);
    expect(reasons.filter((reason) => reason === 'malformed-request')).toHaveLength(side === 'inbound' ? 1 : 0);
  },
);

test.each(['inbound', 'outbound'] as const)(
  'CONNECT does not overtake the answer to an earlier call (%s)',
  async (side) => {
    const pair = await start((_, socket) => setTimeout(() => socket.write(answer200), 100));
    const text = await rawExchange(
      side === 'inbound' ? await caller(pair) : await dial(pair.outbound.port),
      `${get('/slow')}CONNECT orders.shop.mesh:80 HTTP/1.1\r\n${HOST}\r\n`,
    );
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400']);
  },
);

test.each([
  ['a status that HTTP does not have', 'HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n'],
  ['a control character in the reason', 'HTTP/1.1 200 a\x01b\r\nContent-Length: 0\r\n\r\n'],
])('an upgrade that is answered with %s is a 502', async (_what, answer) => {
  const pair = await start((_, socket) => socket.write(answer));
  expect(await rawExchange(await caller(pair), get('/ws', UPGRADE))).toMatch(/^HTTP\/1\.1 502 /);
  expect(await pair.orders.recorder.completed(1)).toMatchObject([{ status: 502 }]);
});

test('a declined upgrade whose answer breaks off gets no second answer in its body', async () => {
  const pair = await start((_, socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc');
    setTimeout(() => socket.resetAndDestroy(), 100);
  });
  const text = await rawExchange(await caller(pair), get('/ws', UPGRADE));
  expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]*abc$/);
  expect(await pair.orders.recorder.completed(1)).toMatchObject([{ status: 0 }]);
});

test.each([
  ['a request', get('/')],
  ['an upgrade', get('/', UPGRADE)],
])(
  '%s whose caller leaves while it is decided is completed, and never reaches the application',
  async (_what, text) => {
    const pair = await start((_, socket) => socket.write(answer200));
    const { promise: durable, resolve: release } = Promise.withResolvers<void>();
    pair.orders.recorder.beforeDurable = () => durable;
    const socket = await caller(pair);
    socket.write(text);
    setTimeout(() => socket.destroy(), 50);
    setTimeout(release, 150);
    expect(await pair.orders.recorder.completed(1)).toMatchObject([{ status: 0, bytesIn: 0, bytesOut: 0 }]);
    await sleep(50);
    expect(pair.requests).toEqual([]);
    expect(pair.open.size).toBe(0);
  },
);

test('calls that wait behind an unanswered one end with their connection', async () => {
  const pair = await start((text, socket) => {
    if (text.includes('/b')) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n${'x'.repeat(9_000_000)}`);
  });
  const socket = await caller(pair);
  socket.write(get('/a') + get('/b'));
  await sleep(200);
  socket.destroy();
  expect(await pair.orders.recorder.completed(2)).toMatchObject([{ status: 0 }, { status: 0 }]);
  await expect.poll(() => pair.open.size).toBe(0);
});

test('an answer before the request was whole does not keep the connection to the application', async () => {
  const pair = await start((text, socket) => {
    if (text.includes('POST')) socket.write('HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno');
  });
  const socket = await caller(pair);
  await rawExchange(socket, `POST / HTTP/1.1\r\n${HOST}Content-Length: 1000000\r\n\r\nabc`);
  await pair.orders.recorder.completed(1);
  await expect.poll(() => pair.open.size).toBe(0);
});

test('a 101 that was not asked for is a 502', async () => {
  const pair = await start((_, socket) =>
    socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n'),
  );
  const text = await rawExchange(await caller(pair), get('/', 'Connection: close\r\n'));
  expect(text).toMatch(/^HTTP\/1\.1 502 /);
  expect(await pair.orders.recorder.completed(1)).toMatchObject([{ status: 502 }]);
});

test('interim answers carry no fields of one hop, of framing, or of sidecars', async () => {
  const interim =
    'Link: </a>\r\nLink: </b>\r\nContent-Length: 5\r\nKeep-Alive: x\r\nX_Writ_Reason: x\r\nX-Writ-Rule: x\r\n';
  const pair = await start((_, socket) => socket.write(`HTTP/1.1 103 Early Hints\r\n${interim}\r\n${answer200}`));
  const text = await rawExchange(await caller(pair), get('/', 'Connection: close\r\n'));
  const [first, second] = text.split('\r\n\r\n');
  expect(first).toBe('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>');
  expect(second).toMatch(/^HTTP\/1\.1 200 /);
});

test.each(['X_Forwarded_Client_Cert', 'x-forwarded_client-CERT'])(
  'a client certificate field spelled %s is not believed, in the head or as a trailer',
  async (name) => {
    const pair = await start((text, socket) => {
      if (text.endsWith('0\r\n\r\n')) socket.write(answer200);
    });
    const forged = `${name}: URI=spiffe://example.org/ns/shop/sa/admin\r\n`;
    const head = `POST / HTTP/1.1\r\n${HOST}${forged}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n`;
    expect(await rawExchange(await caller(pair), `${head}0\r\n${forged}\r\n`)).toMatch(/^HTTP\/1\.1 200 /);
    expect(pair.requests.join('')).toContain(`URI=${WEB}`);
    expect(pair.requests.join('')).not.toContain('sa/admin');
  },
);

test('a tunnel to a caller that has left ends at once', async () => {
  const { port } = await serve(createServer((socket) => socket.on('error', () => undefined)));
  const [gone, callee] = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
  await Promise.all([once(gone, 'connect'), once(callee, 'connect')]);
  gone.destroy();
  await once(gone, 'close');
  const bytes = await new Promise((resolve) => tunnel(gone, callee, { idleMs: 60_000 }, resolve));
  expect(bytes).toEqual({ bytesIn: 0, bytesOut: 0 });
  expect(callee.destroyed).toBe(true);
});
