import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { connect as connectHttp2, createServer as createHttp2 } from 'node:http2';
import type { Server } from 'node:net';
import { createServer as createTcp } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { Policy } from '../../../src/core/policy/model.ts';
import type { ExternalAuthorizer } from '../../../src/core/policy/snapshot.ts';
import { ALPN_TCP } from '../../../src/node/sidecar/mesh-tls.ts';
import { makeWebCertificate } from '../../support/web-certificate.ts';
import type { TestAuthorizer } from './authorizer.ts';
import { agreed, agreesWith, objects, startAuthorizer } from './authorizer.ts';
import { dial, dialTls, fetchHttp, rawExchange } from './http.ts';
import type { Pair } from './mesh.ts';
import { allow, ORDERS, policy, startPair, WEB } from './mesh.ts';

/** CUSTOM policies, through real sidecars, with an authorizer that speaks Envoy's own protocol. */

function custom(provider: string, path = '/'): Policy {
  const to = path === '/' ? [] : [{ methods: [], paths: [{ kind: 'prefix' as const, value: path }], ports: [] }];
  return { ...policy(`ask-${provider}`, 'CUSTOM', [{ from: [], to }]), provider };
}

interface World extends Pair {
  readonly opa: TestAuthorizer;
  /** What the application was sent. */
  readonly seen: { readonly url: string; readonly headers: IncomingHttpHeaders; readonly raw: string[] }[];
}

async function world(
  o: {
    readonly policies?: readonly Policy[];
    readonly authorizers?: readonly ExternalAuthorizer[];
    readonly timeoutMs?: number;
  } = {},
): Promise<World> {
  const seen: World['seen'] = [];
  const opa = await startAuthorizer(o.timeoutMs === undefined ? {} : { timeoutMs: o.timeoutMs });
  const pair = await startPair(
    createServer((req, res) => {
      seen.push({ url: req.url ?? '', headers: req.headers, raw: req.rawHeaders });
      res.setHeader('x-own', 'application');
      res.end('served');
    }),
  );
  const authorizers = o.authorizers ?? [opa.authorizer];
  pair.orders.push(o.policies ?? [allow(), custom('opa')], [], { authorizers });
  return { ...pair, opa, seen };
}

const option = (key: string, value: string, more: object = {}) => ({ header: { key, value }, ...more });

describe('an external authorizer', () => {
  test('is told who calls whom, what and from where, with every value of every field, and nothing that only sidecars say', async () => {
    const { outbound, opa, seen } = await world();
    const headers = { 'x-tenant': ['a', 'b'], 'x-forwarded-client-cert': 'URI=spiffe://example.org/ns/shop/sa/root' };
    const answer = await fetchHttp({ port: outbound.port, path: '/a/../b?q=1', headers });
    expect([answer.status, answer.text]).toEqual([200, 'served']);
    const [question] = opa.questions;
    expect(question?.attributes.source).toMatchObject({
      principal: WEB,
      address: { socketAddress: { address: expect.stringContaining('127.0.0.1') } },
    });
    expect(question?.attributes.destination).toMatchObject({ principal: ORDERS });
    const http = question?.attributes.request.http;
    // CVE-2021-32777: all the values of a field that stands there twice.
    expect(http).toMatchObject({ method: 'GET', path: '/b?q=1', host: 'orders.shop.mesh', size: '-1' });
    expect(http?.headers).toMatchObject({ 'x-tenant': 'a,b', ':path': '/b?q=1', ':method': 'GET' });
    expect(http?.headers).not.toHaveProperty('x-forwarded-client-cert');
    expect(seen[0]?.url).toBe('/b?q=1');
  });

  test('CVE-2023-27488: a field that is no UTF-8 reaches it', async () => {
    const { outbound, opa } = await world();
    const socket = await dial(outbound.port);
    const text = await rawExchange(
      socket,
      Buffer.from('GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\nX-Odd: a\xffb\r\nConnection: close\r\n\r\n', 'latin1'),
    );
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(opa.questions[0]?.attributes.request.http?.headers['x-odd']).toBe('a\u00ffb');
  });

  test('is asked only about calls that its rule matches and that would be let in', async () => {
    const { outbound, orders, opa } = await world({ policies: [allow(), custom('opa', '/admin')] });
    expect((await fetchHttp({ port: outbound.port, path: '/' })).status).toBe(200);
    expect(opa.questions).toHaveLength(0);
    expect((await fetchHttp({ port: outbound.port, path: '/admin/x' })).status).toBe(200);
    expect(opa.questions).toHaveLength(1);
    // Denied anyway.
    orders.push([custom('opa')], [], { authorizers: [opa.authorizer] });
    expect((await fetchHttp({ port: outbound.port })).headers['x-writ-reason']).toBe('default-deny');
    expect(opa.questions).toHaveLength(1);
  });

  test('that refuses has the call refused with its own status, fields and body, on the record', async () => {
    const { outbound, opa, orders, seen } = await world();
    opa.answer = () =>
      objects({
        status: { code: 401 },
        headers: [
          option('www-authenticate', 'Basic realm="x"'),
          option('set-cookie', 'a=1'),
          option('set-cookie', 'b=2', { append: { value: true } }),
          // Not its to say.
          option('content-length', '9999'),
          option('transfer-encoding', 'chunked'),
          option('x-writ-rule', 'forged'),
        ],
        body: 'who are you?',
      });
    const answer = await fetchHttp({ port: outbound.port });
    expect([answer.status, answer.text]).toEqual([401, 'who are you?']);
    expect(answer.headers['www-authenticate']).toBe('Basic realm="x"');
    expect(answer.headers['set-cookie']).toEqual(['a=1', 'b=2']);
    expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8');
    expect(answer.headers['x-writ-reason']).toBe('custom-rule');
    expect(answer.headers['x-writ-rule']).toBe('shop/ask-opa@7#0');
    expect(orders.recorder.decisions).toMatchObject([
      { decision: 'deny', reason: 'custom-rule', rule: 'shop/ask-opa@7#0' },
    ]);
    expect(seen).toEqual([]);
  });

  test.each([
    ['without a response of its own', { status: { code: 16 } }],
    ['with a status that ends no call', objects({ status: { code: 100 } })],
    ['with a status that has no body', objects({ status: { code: 204 }, body: 'x' })],
    ['with a field that would split the answer', objects({ headers: [option('x-a', 'b\r\nset-cookie: c=1')] })],
    ['with a name that is none', objects({ headers: [option('x a', 'b')] })],
    ['with more than a caller should read', objects({ body: 'x'.repeat(65_537) })],
  ])('that refuses %s has it refused with 403', async (_, answer) => {
    const { outbound, opa, seen } = await world();
    opa.answer = () => answer;
    const got = await fetchHttp({ port: outbound.port });
    expect([got.status, got.headers['x-writ-reason'], got.headers['set-cookie']]).toEqual([
      403,
      'custom-rule',
      undefined,
    ]);
    expect(seen).toEqual([]);
  });

  test('sets, appends, removes and keeps fields of the request, and no pseudo field, Host, framing or identity', async () => {
    const { outbound, opa, seen } = await world();
    opa.answer = () =>
      agreesWith({
        headers: [
          option('X-User', 'ada'),
          option('x-set', 'new'),
          option('x-more', 'two', { append: { value: true } }),
          option('x-absent', 'added', { appendAction: 'ADD_IF_ABSENT' }),
          option('x-there', 'kept out', { appendAction: 'ADD_IF_ABSENT' }),
          option('x-there', 'over', { appendAction: 'OVERWRITE_IF_EXISTS' }),
          option('x-nowhere', 'no', { appendAction: 'OVERWRITE_IF_EXISTS' }),
          option(':path', '/elsewhere'),
          option('host', 'evil.example'),
          option('content-length', '3'),
          option('x-forwarded-client-cert', 'URI=spiffe://example.org/ns/shop/sa/root'),
          option('X_Forwarded_Client_Cert', 'URI=spiffe://example.org/ns/shop/sa/root'),
        ],
        headersToRemove: ['X-Secret', 'host', ':method', 'x-forwarded-client-cert'],
        queryParametersToSet: [{ key: 'user', value: 'a b&c' }],
        queryParametersToRemove: ['token'],
      });
    const headers = { 'x-set': ['old', 'older'], 'x-more': 'one', 'x-there': 'here', 'x-secret': 's' };
    const answer = await fetchHttp({ port: outbound.port, path: '/p?%74oken=s&keep=1&user=x', headers });
    expect(answer.status).toBe(200);
    const [request] = seen;
    expect(request?.url).toBe('/p?keep=1&user=a%20b%26c');
    expect(request?.headers).toMatchObject({
      host: 'orders.shop.mesh',
      'x-user': 'ada',
      'x-set': 'new',
      'x-more': 'one, two',
      'x-absent': 'added',
      'x-there': 'over',
    });
    for (const name of ['x-secret', 'x-nowhere', 'content-length', 'x_forwarded_client_cert']) {
      expect(request?.headers).not.toHaveProperty(name);
    }
    expect(request?.headers['x-forwarded-client-cert']).toContain(`URI=${WEB}`);
  });

  test('puts fields into the answer', async () => {
    const { outbound, opa } = await world();
    opa.answer = () =>
      agreesWith({
        responseHeadersToAdd: [option('x-own', 'authorizer'), option('x-quota', '9'), option('x-writ-rule', 'r')],
      });
    const answer = await fetchHttp({ port: outbound.port });
    expect(answer.headers).toMatchObject({ 'x-own': 'authorizer', 'x-quota': '9' });
    expect(answer.headers).not.toHaveProperty('x-writ-rule');
  });

  test.each([
    ['is not configured', 'none'],
    ['cannot be reached', 'away'],
    ['fails', 'error'],
    ['is late', 'late'],
    ['answers without a status', {}],
    ['agrees and objects at once', { status: { code: 0 }, deniedResponse: {} }],
    ['sets a field that is none', agreesWith({ headers: [option('x-a', 'b\nc')] })],
    ['sets a name that is none', agreesWith({ headers: [option('', 'b')] })],
    ['removes a name that is none', agreesWith({ headersToRemove: ['a b'] })],
    ['wants what is not known here', agreesWith({ headers: [option('x-a', 'b', { appendAction: 7 })] })],
    ['wants too much', agreesWith({ headers: Array(257).fill(option('x-a', 'b')) })],
  ])('that %s has not agreed', async (_, answer) => {
    const { outbound, orders, opa, seen } = await world({ timeoutMs: 300 });
    if (answer === 'none') orders.push([allow(), custom('opa')], [], { authorizers: [] });
    else if (answer === 'away') {
      const gone = { ...opa.authorizer, address: '127.0.0.1:1' };
      orders.push([allow(), custom('opa')], [], { authorizers: [gone] });
    } else if (answer === 'error') opa.answer = () => Promise.reject(new Error('broken'));
    else if (answer === 'late') opa.answer = () => new Promise(() => undefined);
    else opa.answer = () => answer as object;
    const got = await fetchHttp({ port: outbound.port });
    expect([got.status, got.headers['x-writ-reason']]).toEqual([403, 'custom-rule']);
    expect(JSON.parse(got.text)).toMatchObject({
      code: 'forbidden',
      detail: expect.stringMatching(/did not answer|refused/),
    });
    expect(orders.recorder.decisions.at(-1)).toMatchObject({ decision: 'deny', reason: 'custom-rule' });
    expect(seen).toEqual([]);
  });

  test('is reached over TLS, where its certificate is that of the configured CA and its name', async () => {
    const certificate = await makeWebCertificate();
    const good = await startAuthorizer({ tls: certificate });
    const { outbound, orders, seen } = await world({ authorizers: [good.authorizer] });
    expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
    const foreign = { ...good.authorizer, ca: (await makeWebCertificate()).cert };
    orders.push([allow(), custom('opa')], [], { authorizers: [foreign] });
    expect((await fetchHttp({ port: outbound.port })).status).toBe(403);
    const named = await startAuthorizer({ tls: await makeWebCertificate('elsewhere.example') });
    orders.push([allow(), custom('opa')], [], { authorizers: [named.authorizer] });
    expect((await fetchHttp({ port: outbound.port })).status).toBe(403);
    expect(seen).toHaveLength(1);
  });

  test('rule 27: several are asked one after the other, each sees what those before have changed, and all must agree', async () => {
    const second = await startAuthorizer({ name: 'second' });
    const { outbound, orders, opa } = await world();
    orders.push([allow(), custom('opa'), custom('second')], [], { authorizers: [opa.authorizer, second.authorizer] });
    opa.answer = () => agreesWith({ headers: [option('x-user', 'ada')] });
    second.answer = ({ attributes }) => (attributes.request.http?.headers['x-user'] === 'ada' ? agreed : objects({}));
    expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
    opa.answer = () => agreed;
    expect((await fetchHttp({ port: outbound.port })).headers['x-writ-rule']).toBe('shop/ask-second@7#0');
    opa.answer = () => objects({});
    const before = second.questions.length;
    expect((await fetchHttp({ port: outbound.port })).headers['x-writ-rule']).toBe('shop/ask-opa@7#0');
    expect(second.questions).toHaveLength(before);
  });
});

test('on HTTP/2 and gRPC an authorizer changes fields, and a refusal is a gRPC status', async () => {
  const seen: IncomingHttpHeaders[] = [];
  const application = createHttp2();
  application.on('stream', (stream: ServerHttp2Stream, headers) => {
    seen.push(headers);
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.end();
  });
  const { outbound, orders } = await startPair(application as unknown as Server as never);
  const opa = await startAuthorizer();
  orders.push([allow(), custom('opa')], [], { authorizers: [opa.authorizer] });
  const session = connectHttp2(`http://127.0.0.1:${outbound.port}`);
  const call = async () => {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/shop.Orders/List',
      ':authority': 'orders.shop.mesh',
      'content-type': 'application/grpc',
      'x-more': 'one',
      te: 'trailers',
    });
    stream.end();
    stream.resume();
    const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    return headers;
  };
  opa.answer = () =>
    agreesWith({
      headers: [option('x-user', 'ada'), option('x-more', 'two', { append: { value: true } })],
      headersToRemove: ['te'],
      responseHeadersToAdd: [option('x-quota', '9')],
    });
  expect(await call()).toMatchObject({ ':status': 200, 'x-quota': '9' });
  expect(seen[0]).toMatchObject({
    'x-user': 'ada',
    'x-more': 'one, two',
    ':path': '/shop.Orders/List',
    te: 'trailers',
  });
  expect(opa.questions[0]?.attributes.request.http?.headers).toMatchObject({ 'content-type': 'application/grpc' });
  opa.answer = () => objects({ status: { code: 401 }, headers: [option('content-type', 'text/html')] });
  expect(await call()).toMatchObject({ 'grpc-status': '16', 'content-type': 'application/grpc' });
  session.destroy();
});

test('on TCP an authorizer is told of the connection alone, and its refusal closes it', async () => {
  const { orders, inbound, authority } = await startPair(
    createTcp((socket) => socket.end('served')),
    { protocol: 'tcp' },
  );
  const opa = await startAuthorizer();
  orders.push([allow(), custom('opa')], [], { authorizers: [opa.authorizer] });
  const answer = async () => {
    const socket = await dialTls(inbound.port, { ...authority.issue(WEB).pem, alpn: [ALPN_TCP] });
    let text = '';
    socket.on('data', (data: Buffer) => {
      text += data.toString();
    });
    await once(socket, 'close');
    return text;
  };
  expect(await answer()).toBe('served');
  expect(opa.questions[0]?.attributes).toMatchObject({
    source: { principal: WEB },
    destination: { principal: ORDERS },
    request: { http: null },
  });
  opa.answer = () => objects({});
  expect(await answer()).toBe('');
  expect(orders.recorder.decisions.map(({ reason }) => reason)).toEqual(['allow-rule', 'custom-rule']);
});
