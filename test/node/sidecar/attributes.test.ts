import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, createServer as createHttp2 } from 'node:http2';
import { createServer as createTcp } from 'node:net';
import { describe, expect, test } from 'vitest';
import { signJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { parsePolicies } from '../../../src/core/policy/parse.ts';
import { ALPN_TCP } from '../../../src/node/sidecar/mesh-tls.ts';
import { FakeClock } from '../../support/clock.ts';
import { dialTls, fetchHttp } from './http.ts';
import { allow, ORDERS, startPair, WEB } from './mesh.ts';

/** What rules ask for beyond caller, method, path and port, as a sidecar brings it from real connections. */

function policy(name: string, spec: string) {
  const lines = spec.split('\n').map((line) => `  ${line}`);
  const text = `apiVersion: writ.dev/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: shop}\nspec:\n`;
  return parsePolicies(`${text}${lines.join('\n')}\n`).map((document) => document.policy);
}

const when = (condition: string, action = 'ALLOW') =>
  policy('p', `action: ${action}\nrules: [{when: [{${condition}}]}]`);

const application = () => createServer((_req, res) => res.end('served'));

describe('HTTP/1.1', () => {
  test('headers, host and addresses are those of the request and the connection', async () => {
    const { outbound, orders } = await startPair(application());
    const status = async (condition: string, headers: Record<string, string | string[]> = {}) => {
      orders.push(when(condition));
      return (await fetchHttp({ port: outbound.port, headers })).status;
    };
    expect(await status('key: "request.headers[X-Tenant]", values: [a]', { 'x-tenant': 'a' })).toBe(200);
    expect(await status('key: "request.headers[X-Tenant]", values: [a]', { 'x-tenant': 'b' })).toBe(403);
    expect(await status('key: "request.headers[x-tenant]", values: ["*"]')).toBe(403);
    expect(await status('key: source.ip, values: [127.0.0.0/8]')).toBe(200);
    expect(await status('key: source.ip, values: [10.0.0.0/8]')).toBe(403);
    expect(await status('key: destination.ip, values: [127.0.0.1]')).toBe(200);
    expect(await status('key: remote.ip, values: [10.0.0.0/8]', { 'x-forwarded-for': '10.0.0.1' })).toBe(403);
    expect(await status('key: source.trustDomain, values: [example.org]')).toBe(200);
    orders.push(policy('p', 'rules: [{to: [{operation: {hosts: [ORDERS.shop.mesh]}}]}]'));
    expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
    expect((await fetchHttp({ port: outbound.port, host: 'orders.shop.mesh:80' })).status).toBe(403);
  });

  test('CVE-2026-26308: a header that is sent twice gets past no DENY', async () => {
    const { outbound, orders } = await startPair(application());
    orders.push([allow(), ...when('key: "request.headers[x-role]", values: [admin]', 'DENY')]);
    for (const roles of [['user', 'admin'], ['admin', 'user'], ['admin']]) {
      expect((await fetchHttp({ port: outbound.port, headers: { 'x-role': roles } })).status).toBe(403);
    }
    expect((await fetchHttp({ port: outbound.port, headers: { 'x-role': ['user', 'guest'] } })).status).toBe(200);
  });

  test('a header that Connection takes away is not there for rules either', async () => {
    const { outbound, orders } = await startPair(application());
    orders.push(when('key: "request.headers[x-pass]", values: ["*"]'));
    expect((await fetchHttp({ port: outbound.port, headers: { 'x-pass': '1' } })).status).toBe(200);
    const headers = { 'x-pass': '1', connection: 'x-pass' };
    expect((await fetchHttp({ port: outbound.port, headers })).status).toBe(403);
  });

  test('claims of a JWT-SVID that verified', async () => {
    const pair = await startPair(application());
    const subject = 'spiffe://example.org/ns/shop/sa/batch';
    const { token } = await signJwtSvid({
      id: parseSpiffeId(subject),
      audience: [ORDERS],
      ...pair.authority.jwt,
      now: Date.now(),
      ttlSeconds: 300,
      claims: { realm: { roles: ['reader'] } },
    });
    const status = async (spec: string, bearer = token) => {
      pair.orders.push(policy('p', spec));
      const headers = bearer === '' ? {} : { authorization: `Bearer ${bearer}` };
      return (await fetchHttp({ port: pair.outbound.port, headers })).status;
    };
    const principal = (value: string) => `rules: [{from: [{source: {requestPrincipals: ["${value}"]}}]}]`;
    expect(await status(principal(`example.org/${subject}`))).toBe(200);
    expect(await status(principal('*'))).toBe(200);
    expect(await status(principal('*'), '')).toBe(403);
    expect(await status(principal('other.org/*'))).toBe(403);
    const claim = (value: string) =>
      `rules: [{when: [{key: "request.auth.claims[realm][roles]", values: [${value}]}]}]`;
    expect(await status(claim('reader'))).toBe(200);
    // Remembered, with its claims.
    expect(await status(claim('writer'))).toBe(403);
    expect(await status(`rules: [{when: [{key: request.auth.audiences, values: ["${ORDERS}"]}]}]`)).toBe(200);
    // Not signed by anybody: it never comes to a rule.
    expect(await status('rules: [{}]', `${token.slice(0, -8)}AAAAAAAA`)).toBe(401);
    expect(await status(principal('*'), 'opaque')).toBe(403);
  });

  test('a validity begins and ends by the clock of the sidecar', async () => {
    const clock = new FakeClock(Date.now());
    const { outbound, orders } = await startPair(application(), { clock });
    const from = new Date(clock.now() + 10_000).toISOString();
    const until = new Date(clock.now() + 20_000).toISOString();
    orders.push(policy('p', `validity: {notBefore: "${from}", notAfter: "${until}"}\nrules: [{}]`));
    const statuses: number[] = [];
    for (let i = 0; i < 3; i++) {
      statuses.push((await fetchHttp({ port: outbound.port })).status);
      await clock.advance(10_000);
    }
    expect(statuses).toEqual([403, 200, 403]);
  });

  test('what shadow policies would have decided, and the AUDIT that matched, are on the record', async () => {
    const { outbound, orders } = await startPair(application());
    const shadow = policy('try', 'action: DENY\nmode: Shadow\nrules: [{to: [{operation: {paths: ["/admin/{**}"]}}]}]');
    const audit = policy('watch', 'action: AUDIT\nrules: [{to: [{operation: {methods: [POST]}}]}]');
    orders.push([allow(), ...shadow, ...audit]);
    await fetchHttp({ port: outbound.port, path: '/admin/x' });
    await fetchHttp({ port: outbound.port, method: 'POST', path: '/' });
    const [first, second] = orders.recorder.decisions;
    expect(first).toMatchObject({ decision: 'allow', shadowDecision: 'deny', shadowRule: 'shop/try@0#0' });
    expect(first).not.toHaveProperty('auditRule');
    expect(second).toMatchObject({ decision: 'allow', auditRule: 'shop/watch@0#0' });
    expect(second).not.toHaveProperty('shadowDecision');
  });
});

test('HTTP/2: headers as they came, a cookie in crumbs as one', async () => {
  const pair = await startPair(createHttp2((_req, res) => res.end('served')));
  const socket = await dialTls(pair.inbound.port, { ...pair.authority.issue(WEB).pem, alpn: ['h2'] });
  const session = connect('http://orders', { createConnection: () => socket });
  const status = async (condition: string, action: string, headers: Record<string, string | string[]>) => {
    pair.orders.push(action === 'DENY' ? [allow(), ...when(condition, action)] : when(condition));
    const stream = session.request({ ':authority': 'orders.shop.mesh', ':path': '/', ...headers });
    stream.resume();
    const [answer] = (await once(stream, 'response')) as [{ ':status': number }];
    return answer[':status'];
  };
  const admin = 'key: "request.headers[x-role]", values: [admin]';
  expect(await status(admin, 'ALLOW', { 'x-role': 'admin' })).toBe(200);
  expect(await status(admin, 'ALLOW', { 'x-role': ['user', 'admin'] })).toBe(403);
  expect(await status(admin, 'DENY', { 'x-role': ['user', 'admin'] })).toBe(403);
  const cookie = 'key: "request.headers[cookie]", values: ["a=1; b=2"]';
  expect(await status(cookie, 'ALLOW', { cookie: ['a=1', 'b=2'] })).toBe(200);
  session.destroy();
});

test('TCP: addresses and callers, and nothing of HTTP', async () => {
  const { orders, inbound, authority } = await startPair(
    createTcp((socket) => socket.end('served')),
    { protocol: 'tcp' },
  );
  const answer = async (spec: string) => {
    orders.push(policy('p', spec));
    const socket = await dialTls(inbound.port, { ...authority.issue(WEB).pem, alpn: [ALPN_TCP] });
    let text = '';
    socket.on('data', (data: Buffer) => {
      text += data.toString();
    });
    await once(socket, 'close');
    return text;
  };
  expect(await answer('rules: [{when: [{key: source.ip, values: [127.0.0.1]}]}]')).toBe('served');
  expect(await answer('rules: [{when: [{key: source.ip, notValues: [127.0.0.1]}]}]')).toBe('');
  expect(await answer('rules: [{when: [{key: "request.headers[a]", notValues: [b]}]}]')).toBe('');
});

describe('rule 19: with trusted proxies the remote address is the one that they say, and source.ip stays the peer', () => {
  const remote = 'key: remote.ip, values: [203.0.113.0/24]';

  async function statusOf(trustedProxies: number, forwarded: string | string[] | undefined, condition = remote) {
    const { outbound, orders } = await startPair(application());
    orders.push(when(condition), [], { trustedProxies });
    const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded };
    return (await fetchHttp({ port: outbound.port, headers })).status;
  }

  test.each([
    [0, '203.0.113.9', 403],
    [1, '203.0.113.9', 200],
    [1, '10.0.0.1, 203.0.113.9', 200],
    // What the client says of itself.
    [1, '203.0.113.9, 10.0.0.1', 403],
    [2, '203.0.113.9, 10.0.0.1', 200],
    [2, ['203.0.113.9', '10.0.0.1'], 200],
    [2, '198.51.100.1, 203.0.113.9, 10.0.0.1', 200],
    // It has not come through as many: the caller itself.
    [2, '203.0.113.9', 403],
    [1, undefined, 403],
    // Not an address where a proxy writes one.
    [1, '203.0.113.9, unknown', 400],
    [1, '203.0.113.9,', 400],
    [1, 'fe80::1%eth0', 400],
  ])('%i of them, X-Forwarded-For %o: %i', async (proxies, forwarded, status) => {
    expect(await statusOf(proxies, forwarded)).toBe(status);
  });

  test('source.ip is never what a field says', async () => {
    expect(await statusOf(1, '203.0.113.9', 'key: source.ip, values: [203.0.113.0/24]')).toBe(403);
    expect(await statusOf(1, '203.0.113.9', 'key: source.ip, values: [127.0.0.0/8]')).toBe(200);
  });

  test('IPv6 too', async () => {
    expect(await statusOf(1, '2001:db8::7', 'key: remote.ip, values: ["2001:db8::/32"]')).toBe(200);
  });
});
