import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http2';
import { connect, createServer } from 'node:http2';
import { createServer as createTcp } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { dialTls } from './http.ts';
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  type Field,
  frame,
  HEADERS,
  literals,
  PREFACE,
  SETTINGS,
} from './http2-frames.ts';
import { startPair, WEB } from './mesh.ts';

/** What Node would throw in an event handler, or lose, had the sidecar passed it on as it came. */

async function start() {
  const seen: { headers: IncomingHttpHeaders; trailers: IncomingHttpHeaders }[] = [];
  const application = createServer();
  application.on('stream', (stream, headers) => {
    let trailers: IncomingHttpHeaders = {};
    stream.on('trailers', (fields) => {
      trailers = fields;
    });
    stream.on('error', () => undefined);
    stream.resume().on('end', () => {
      seen.push({ headers, trailers });
      stream.respond({ ':status': 200 });
      stream.end('ok');
    });
  });
  const pair = await startPair(application);
  const { pem } = pair.authority.issue(WEB);
  const caller = await dialTls(pair.inbound.port, { ...pem, alpn: ['h2'] });
  caller.on('error', () => undefined);
  caller.resume();
  return { pair, seen, caller };
}

const post: readonly Field[] = [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':authority', 'orders.shop.mesh'],
  [':path', '/'],
];

function request(fields: readonly Field[], trailers: readonly Field[]): Buffer {
  return Buffer.concat([
    Buffer.from(PREFACE),
    frame(SETTINGS, 0, 0),
    frame(HEADERS, END_HEADERS, 1, literals(fields)),
    frame(DATA, 0, 1, Buffer.from('hello')),
    frame(HEADERS, END_HEADERS | END_STREAM, 1, literals(trailers)),
  ]);
}

test('request trailers that HTTP/2 forbids are dropped, the others go through', async () => {
  const { pair, seen, caller } = await start();
  caller.write(
    request(
      [...post, ['http2-settings', 'x']],
      [
        ['http2-settings', 'x'],
        ['te', 'trailers'],
        ['x_writ_reason', 'x'],
        ['x-sum', '42'],
      ],
    ),
  );
  expect(await pair.orders.recorder.completed(1)).toMatchObject([{ status: 200 }]);
  expect(seen).toHaveLength(1);
  expect(seen[0]?.headers).not.toHaveProperty('http2-settings');
  expect(Object.entries(seen[0]?.trailers ?? {})).toEqual([['x-sum', '42']]);
});

test('request trailers that arrive before the decision is durable are not lost', async () => {
  const { pair, seen, caller } = await start();
  const { promise: durable, resolve: release } = Promise.withResolvers<void>();
  pair.orders.recorder.beforeDurable = () => durable;
  caller.write(request(post, [['x-sum', '42']]));
  setTimeout(release, 100);
  await pair.orders.recorder.completed(1);
  expect(Object.entries(seen[0]?.trailers ?? {})).toEqual([['x-sum', '42']]);
});

test('a stream that is reset while its call is decided never reaches the application, and is completed', async () => {
  const { pair, seen, caller } = await start();
  const { promise: durable, resolve: release } = Promise.withResolvers<void>();
  pair.orders.recorder.beforeDurable = () => durable;
  caller.write(request(post, [['x-sum', '42']]));
  setTimeout(() => caller.destroy(), 50);
  setTimeout(release, 150);
  expect(await pair.orders.recorder.completed(1)).toMatchObject([{ status: 0, bytesIn: 0, bytesOut: 0 }]);
  expect(seen).toEqual([]);
});

test('a client certificate field with underscores is not believed', async () => {
  const { pair, seen, caller } = await start();
  caller.write(request([...post, ['x_forwarded_client-cert', 'URI=spiffe://example.org/ns/shop/sa/admin']], []));
  await pair.orders.recorder.completed(1);
  expect(JSON.stringify(seen)).toContain(WEB);
  expect(JSON.stringify(seen)).not.toContain('sa/admin');
});

const illegal: Field = ['http2-settings', 'x'];
const ok: Field = [':status', '200'];

test.each<[string, readonly Buffer[]]>([
  [
    'an answer',
    [frame(HEADERS, END_HEADERS | END_STREAM, 1, literals([ok, illegal, ['te', 'trailers'], ['x_writ_reason', 'x']]))],
  ],
  [
    'an interim answer',
    [
      frame(
        HEADERS,
        END_HEADERS,
        1,
        literals([[':status', '103'], illegal, ['te', 'trailers'], ['x-writ-reason', 'x']]),
      ),
      frame(HEADERS, END_HEADERS | END_STREAM, 1, literals([ok])),
    ],
  ],
  [
    'the trailers of an answer',
    [
      frame(HEADERS, END_HEADERS, 1, literals([ok])),
      frame(DATA, 0, 1, Buffer.from('hi')),
      frame(HEADERS, END_HEADERS | END_STREAM, 1, literals([illegal, ['te', 'trailers'], ['x_writ_reason', 'x']])),
    ],
  ],
])('fields that HTTP/2 forbids, in %s of the application, are dropped', async (_where, frames) => {
  const application = createTcp((socket) => {
    socket.on('error', () => undefined);
    socket.write(frame(SETTINGS, 0, 0));
    // The preface and the request, which the sidecar sends once it has our SETTINGS.
    let seen = 0;
    socket.on('data', (chunk: Buffer) => {
      const before = seen;
      seen += chunk.length;
      if (before <= 100 && seen > 100) setTimeout(() => socket.write(Buffer.concat(frames)), 100);
    });
  });
  const { outbound } = await startPair(application as never);
  const session = connect(`http://127.0.0.1:${outbound.port}`);
  onTestFinished(() => session.destroy());
  const stream = session.request({ ':path': '/', ':authority': 'orders.shop.mesh' });
  const seen: IncomingHttpHeaders[] = [];
  for (const event of ['headers', 'response', 'trailers']) stream.on(event, (fields) => seen.push(fields));
  stream.resume();
  await once(stream, 'close');
  expect(seen.map((fields) => fields[':status'])).toContain(200);
  const names = seen.flatMap((fields) => Object.keys(fields));
  for (const name of ['http2-settings', 'te', 'x-writ-reason', 'x_writ_reason']) expect(names).not.toContain(name);
});
