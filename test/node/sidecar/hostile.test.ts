import { createServer } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { expect, test } from 'vitest';
import type { IssuedSvid } from '../../support/pki.ts';
import { dial, dialTls, rawExchange } from './http.ts';
import { allow, type Pair, policy, startPair, WEB } from './mesh.ts';

/** Requests that only a hostile peer writes, straight at the inbound port, with a certificate that is good. */

interface World extends Pair {
  readonly reached: string[];
  readonly caller: IssuedSvid;
  send(text: string): Promise<string>;
}

async function start(): Promise<World> {
  const reached: string[] = [];
  const application = createServer((req, res) => {
    reached.push(`${req.method} ${req.url} ${JSON.stringify(req.headers)}`);
    req.resume().on('end', () => res.end('reached'));
  });
  const secret = policy('no-secret', 'DENY', [
    { from: [], to: [{ methods: [], paths: [{ kind: 'prefix', value: '/secret' }], ports: [] }] },
  ]);
  const pair = await startPair(application, { policies: [allow(), secret] });
  const caller = pair.authority.issue(WEB);
  const send = async (text: string) => rawExchange(await dialTls(pair.inbound.port, caller.pem), text);
  return { ...pair, reached, caller, send };
}

const close = 'Connection: close\r\n';

test.each([
  [
    'both Content-Length and Transfer-Encoding',
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  [
    'Transfer-Encoding before Content-Length',
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
  ],
  ['two Content-Length fields', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello`],
  ['a Content-Length list', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello`],
  ['a signed Content-Length', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello`],
  ['an obfuscated Transfer-Encoding', `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
  ['a second coding', `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ['white space before the colon', `GET / HTTP/1.1\r\nHost : a\r\n\r\n`],
  ['a folded field', `GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n`],
  ['NUL in a field', `GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n`],
  ['bare CR in a field', `GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n`],
  ['two Host fields', `GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`],
  ['no Host field', `GET / HTTP/1.1\r\nX: y\r\n\r\n`],
  ['a Host with a path', `GET / HTTP/1.1\r\nHost: a/secret\r\n\r\n`],
  ['a Host with user information', `GET / HTTP/1.1\r\nHost: evil@a\r\n\r\n`],
  [
    'two Authorization fields',
    `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n`,
  ],
  ['an absolute target', `GET http://a/secret HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['an asterisk target', `OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['CONNECT', `CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n`],
  ['NUL in the path', `GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['a bad escape', `GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['an overlong escape', `GET /%c0%af HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['a lower-case method', `get / HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['HTTP/1.0', `GET / HTTP/1.0\r\nHost: a\r\n\r\n`],
  ['Connection naming Host', `GET / HTTP/1.1\r\nHost: a\r\nConnection: close, host\r\n\r\n`],
  ['Connection naming Authorization', `GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Authorization\r\n\r\n`],
  ['an unknown expectation', `GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n`],
])('%s: refused with 400, on the record, and the application sees nothing', async (_what, text) => {
  const { send, reached, orders } = await start();
  const answer = await send(text);
  expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
  expect(answer).toMatch(/x-writ-reason: malformed-request/);
  expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  expect(reached).toEqual([]);
  expect(orders.recorder.decisions).toMatchObject([{ decision: 'deny', reason: 'malformed-request', source: WEB }]);
});

test.each([
  '/secret',
  '//secret',
  '/./secret',
  '/x/../secret',
  '/x/%2e%2e/secret',
  '/%73ecret',
  '/x%2f..%2fsecret',
  '/\\secret',
  '/secret?x',
  '/%2Fsecret/',
])('the path %s does not slip past a DENY of /secret', async (path) => {
  const { send, reached } = await start();
  expect(await send(`GET ${path} HTTP/1.1\r\nHost: a\r\n${close}\r\n`)).toMatch(/^HTTP\/1\.1 403 /);
  expect(reached).toEqual([]);
});

test('a smuggled request in a body stays a body', async () => {
  const { send, reached } = await start();
  const inner = 'GET /secret HTTP/1.1\r\nHost: a\r\n\r\n';
  await send(`POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: ${inner.length}\r\n${close}\r\n${inner}`);
  expect(reached).toHaveLength(1);
});

test('nothing that follows an ambiguous request on its connection is served', async () => {
  const { send, reached, orders } = await start();
  const good = 'GET /ok HTTP/1.1\r\nHost: a\r\n\r\n';
  const answer = await send(`GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n${good}${good}`);
  expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  expect(reached).toEqual([]);
  expect(orders.recorder.decisions).toHaveLength(1);
});

test.each(['', 'Connection: close, x-forwarded-client-cert\r\n'])(
  'a forged client certificate field is replaced (%j)',
  async (connection) => {
    const { send, reached } = await start();
    const forged = 'X-Forwarded-Client-Cert: By=x;URI=spiffe://example.org/ns/shop/sa/admin\r\n';
    await send(`GET / HTTP/1.1\r\nHost: a\r\n${forged}${connection || close}\r\n`);
    expect(reached).toHaveLength(1);
    expect(reached[0]).toContain(`URI=${WEB}"`);
    expect(reached[0]).not.toContain('sa/admin');
  },
);

test('too many and too large header fields are refused', async () => {
  const { send, reached } = await start();
  expect(await send(`GET / HTTP/1.1\r\nHost: a\r\n${'a: b\r\n'.repeat(300)}\r\n`)).toMatch(/^HTTP\/1\.1 400 /);
  expect(await send(`GET / HTTP/1.1\r\nHost: a\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /);
  expect(reached).toEqual([]);
});

async function startHttp2() {
  const reached: string[] = [];
  const fields: string[] = [];
  const application = createHttp2();
  application.on('stream', (stream, headers) => {
    fields.push(...Object.keys(headers));
    reached.push(
      `${headers[':method']} ${headers[':path']} ${headers[':authority']} ${headers['x-forwarded-client-cert']}`,
    );
    stream.respond({ ':status': 200 });
    stream.end('reached');
  });
  const pair = await startPair(application);
  const { pem } = pair.authority.issue(WEB);
  const send = async (fields: readonly [string, string][]) =>
    statusOf(await dialTls(pair.inbound.port, { ...pem, alpn: ['h2'] }), fields);
  return { reached, fields, pair, send };
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Sends one request that no library would send (HPACK literals, RFC 7541 §6.2.2), and reads the status of the answer. */
function statusOf(socket: TLSSocket, fields: readonly [string, string][]): Promise<number | 'reset'> {
  const text = (value: string) => Buffer.concat([Buffer.of(value.length), Buffer.from(value, 'latin1')]);
  const block = fields.map(([name, value]) => Buffer.concat([Buffer.of(0), text(name), text(value)]));
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(frame(4, 0, 0, Buffer.alloc(0)));
  socket.write(frame(1, 0x5, 1, Buffer.concat(block)));
  let seen = Buffer.alloc(0);
  return new Promise((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk]);
      while (seen.length >= 9 && seen.length >= 9 + seen.readUIntBE(0, 3)) {
        const length = seen.readUIntBE(0, 3);
        const [type, payload] = [seen[3], seen.subarray(9, 9 + length)];
        seen = seen.subarray(9 + length);
        if (type === 3 || type === 7) resolve('reset');
        // The static table (RFC 7541 Appendix A) has these two as one byte.
        if (type === 1) resolve(payload[0] === 0x8c ? 400 : payload[0] === 0x88 ? 200 : -1);
      }
    });
    socket.once('close', () => resolve('reset'));
  });
}

const ordinary: readonly [string, string][] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'orders.shop.mesh'],
  [':path', '/'],
];

function instead(name: string, value: string): [string, string][] {
  return ordinary.map((field) => (field[0] === name ? [name, value] : field));
}

test.each<[string, readonly [string, string][]]>([
  ['NUL escaped in the path', instead(':path', '/%00')],
  ['Host and :authority that differ', [...ordinary, ['host', 'payments.shop.mesh']]],
  ['a lower-case method', instead(':method', 'get')],
  [
    'CONNECT',
    [
      [':method', 'CONNECT'],
      [':authority', 'orders.shop.mesh:80'],
    ],
  ],
  ['two Authorization fields', [...ordinary, ['authorization', 'Bearer a'], ['authorization', 'Bearer b']]],
])('over HTTP/2, %s: refused, on the record, and the application sees nothing', async (_what, fields) => {
  const { send, reached, pair } = await startHttp2();
  expect(await send(fields)).toBe(400);
  expect(reached).toEqual([]);
  expect(pair.orders.recorder.decisions).toMatchObject([{ reason: 'malformed-request' }]);
});

test.each<[string, readonly [string, string][]]>([
  ['a path without a leading slash', instead(':path', 'secret')],
  ['an absolute path', instead(':path', 'http://orders.shop.mesh/secret')],
  ['two Host fields', [...ordinary, ['host', 'orders.shop.mesh'], ['host', 'orders.shop.mesh']]],
  ['user information in :authority', instead(':authority', 'evil@orders.shop.mesh')],
  ['two paths', [...ordinary, [':path', '/secret']]],
  ['a pseudo-header field after the others', [...ordinary.slice(0, 3), ['x', 'y'], [':path', '/']]],
  ['an upper-case field name', [...ordinary, ['X-A', 'b']]],
  ['Transfer-Encoding', [...ordinary, ['transfer-encoding', 'chunked']]],
  ['two Content-Length fields', [...ordinary, ['content-length', '0'], ['content-length', '1']]],
])('over HTTP/2, %s: the stream is reset before it is a request', async (_what, fields) => {
  const { send, reached, pair } = await startHttp2();
  expect(await send(fields)).not.toBe(200);
  expect(reached).toEqual([]);
  expect(pair.orders.recorder.decisions.filter((decision) => decision.decision === 'allow')).toEqual([]);
});

test('CVE-2023-27493: over HTTP/2, a field with a line break in it is dropped, and injects nothing', async () => {
  const { send, fields } = await startHttp2();
  expect(await send([...ordinary, ['x', 'a\r\nevil: 1'], ['y', 'b']])).toBe(200);
  expect(fields).toContain('y');
  expect(fields.join()).not.toMatch(/evil|x,/);
});

test('over HTTP/2, the forged client certificate field is replaced and the path normalised', async () => {
  const { send, reached } = await startHttp2();
  const forged: [string, string] = ['x-forwarded-client-cert', 'URI=spiffe://example.org/ns/shop/sa/admin'];
  expect(await send([...instead(':path', '/a/../b//c?q=%2e'), forged])).toBe(200);
  expect(reached[0]).toMatch(new RegExp(`^GET /b/c\\?q=%2e orders\\.shop\\.mesh By=[^ ]*;URI=${WEB}$`));
});

test('the outbound port refuses ambiguous requests too, and names nobody', async () => {
  const { outbound, reached } = await start();
  const ask = async (text: string) => rawExchange(await dial(outbound.port), text);
  expect(await ask('GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
  expect(
    await ask('POST / HTTP/1.1\r\nHost: orders.shop.mesh\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'),
  ).toMatch(/^HTTP\/1\.1 400 /);
  const unknown = await ask(`GET / HTTP/1.1\r\nHost: nobody.shop.mesh\r\n${close}\r\n`);
  expect(unknown).toMatch(/^HTTP\/1\.1 404 /);
  expect(unknown).not.toContain('orders');
  expect(await ask(`GET / HTTP/1.1\r\nHost: example.com\r\n${close}\r\n`)).toMatch(/^HTTP\/1\.1 404 /);
  expect(reached).toEqual([]);
});
