import { once } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import { createServer as createHttp } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import { createServer } from 'node:net';
import { onTestFinished } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import type { Policy } from '../../../src/core/policy/model.ts';
import type { Limits } from '../../../src/node/sidecar/limits.ts';
import { dial } from './http.ts';
import type { Pair } from './mesh.ts';
import { startPair } from './mesh.ts';

export interface LongCall extends Pair {
  /** Resolves when the caller has seen the end, however it came. */
  readonly ended: Promise<void>;
  /** Whether the caller has seen the end. */
  readonly isOver: () => boolean;
  /** Sends a word and resolves when it has come back: the call still carries something. */
  readonly echo: () => Promise<void>;
}

export interface Start {
  readonly policies?: readonly Policy[];
  readonly limits?: Partial<Limits>;
  readonly clock?: Clock;
}

/** Every way to keep a call open through two sidecars. Each application echoes, and never ends anything by itself. */
export const longCalls: Readonly<Record<string, (o?: Start) => Promise<LongCall>>> = {
  'a TCP connection': async (o) => {
    const pair = await startPair(
      createServer((socket) => {
        socket.on('error', () => undefined);
        socket.pipe(socket);
      }),
      { ...o, protocol: 'tcp' },
    );
    const socket = await opened(
      pair,
      'CONNECT orders.shop.mesh:5432 HTTP/1.1\r\nHost: orders.shop.mesh:5432\r\n\r\n',
      '200',
    );
    return { ...pair, ...overSocket(socket) };
  },
  'a WebSocket': async (o) => {
    const application = createHttp();
    application.on('upgrade', (_req: IncomingMessage, socket: Socket) => {
      socket.on('error', () => undefined);
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
      socket.pipe(socket);
    });
    const pair = await startPair(application, o);
    const ask = 'GET /chat HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
    return { ...pair, ...overSocket(await opened(pair, ask, '101')) };
  },
  'a long HTTP/1.1 exchange': async (o) => {
    const pair = await startPair(echoingHttp1(), o);
    const ask = 'POST /up HTTP/1.1\r\nHost: orders.shop.mesh\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n';
    const socket = await opened(pair, ask, '200');
    return { ...pair, ...overSocket(socket, (word) => `${word.length.toString(16)}\r\n${word}\r\n`) };
  },
  'a long HTTP/2 stream': async (o) => {
    const application = createHttp2();
    application.on('stream', (stream) => {
      stream.on('error', () => undefined);
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    });
    application.on('sessionError', () => undefined);
    const pair = await startPair(application as unknown as Server, o);
    const session = connectHttp2(`http://127.0.0.1:${pair.outbound.port}`);
    onTestFinished(() => session.destroy());
    session.on('error', () => undefined);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/chat.Chat/Chat',
      ':authority': 'orders.shop.mesh',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.on('error', () => undefined);
    await once(stream, 'response');
    let over = false;
    const ended = new Promise<void>((resolve) => {
      stream.once('close', () => {
        over = true;
        resolve();
      });
    });
    return { ...pair, ended, isOver: () => over, echo: () => echoOn(stream, (word) => word) };
  },
};

function echoingHttp1(): Server {
  return createHttp((req, res) => {
    res.on('error', () => undefined);
    req.on('error', () => undefined);
    res.writeHead(200);
    res.flushHeaders();
    req.pipe(res);
  });
}

async function opened(pair: Pair, ask: string, status: string): Promise<Socket> {
  const socket = await dial(pair.outbound.port);
  socket.on('error', () => undefined);
  socket.write(ask);
  let head = '';
  while (!head.includes('\r\n\r\n')) {
    const [data] = (await once(socket, 'data')) as [Buffer];
    head += data.toString('latin1');
  }
  if (!head.startsWith(`HTTP/1.1 ${status} `)) throw new Error(`not opened: ${head}`);
  return socket;
}

function overSocket(socket: Socket, frame: (word: string) => string = (word) => word) {
  let over = false;
  const ended = new Promise<void>((resolve) => {
    const end = () => {
      over = true;
      resolve();
    };
    socket.once('end', end);
    socket.once('close', end);
  });
  return { ended, isOver: () => over, echo: () => echoOn(socket, frame) };
}

let words = 0;

async function echoOn(
  stream: { write(text: string): unknown; on(event: 'data', fn: (data: Buffer) => void): unknown },
  frame: (word: string) => string,
): Promise<void> {
  words += 1;
  const word = `word-${words}.`;
  const back = new Promise<void>((resolve) => {
    let seen = '';
    stream.on('data', (data: Buffer) => {
      seen += data.toString('latin1');
      if (seen.includes(word)) resolve();
    });
  });
  stream.write(frame(word));
  await back;
}
