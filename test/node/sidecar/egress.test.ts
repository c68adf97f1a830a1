import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http2';
import { connect as connectHttp2, createServer as createHttp2 } from 'node:http2';
import type { Server } from 'node:net';
import { createServer as createTcp } from 'node:net';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { compile } from '../../../src/core/policy/compile.ts';
import type { Policy } from '../../../src/core/policy/model.ts';
import { parsePolicies } from '../../../src/core/policy/parse.ts';
import type { Service } from '../../../src/core/policy/snapshot.ts';
import { FakeClock } from '../../support/clock.ts';
import { dial, fetchHttp, rawExchange } from './http.ts';
import type { Pair, TestSidecar } from './mesh.ts';
import { allow, ORDERS, serve, startPair, WEB } from './mesh.ts';

/** Egress policies: web's own sidecar decides whether a call to orders is let out. */

function egress(name: string, spec: string): Policy[] {
  const lines = spec.split('\n').map((line) => `  ${line}`);
  const head = `apiVersion: writ.dev/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: shop}\n`;
  return parsePolicies(`${head}spec:\n  direction: Egress\n${lines.join('\n')}\n`).map((document) => document.policy);
}

const toOrders = 'rules: [{to: [{operation: {serviceAccounts: [shop/orders]}}]}]';
const toNobody = 'action: ALLOW';

/** Puts egress policies in force in web's sidecar. */
function push(web: TestSidecar, policies: readonly Policy[], services?: readonly Service[]): void {
  const state = web.policy.current;
  web.push([], services ?? [...(state?.services.values() ?? [])], { egress: compile(policies, 1) });
}

/** How often the called sidecar's port was connected to. */
async function world(o: { readonly clock?: FakeClock } = {}): Promise<Pair & { readonly reached: () => number }> {
  let reached = 0;
  const pair = await startPair(
    createServer((req, res) => {
      reached += 1;
      res.end(req.url);
    }),
    o,
  );
  return { ...pair, reached: () => reached };
}

describe('a call over HTTP/1.1', () => {
  test('is let out by an egress policy that names whom it calls, and both sidecars record it', async () => {
    const { outbound, web, orders } = await world();
    push(web, egress('out', toOrders));
    const answer = await fetchHttp({ port: outbound.port, path: '/a/./b?q=1' });
    expect([answer.status, answer.text]).toEqual([200, '/a/b?q=1']);
    await web.recorder.completed(1);
    const [decision] = web.recorder.decisions;
    expect(decision).toMatchObject({
      direction: 'outbound',
      source: WEB,
      destination: ORDERS,
      decision: 'allow',
      reason: 'allow-rule',
      rule: 'shop/out@0#0',
      method: 'GET',
      host: 'orders.shop.mesh',
      path: '/a/b',
      certificateSerial: expect.stringMatching(/^[0-9a-f]+$/),
    });
    expect(web.recorder.completions).toMatchObject([{ call: decision?.call, status: 200 }]);
    const [arrived] = orders.recorder.decisions;
    expect(arrived).toMatchObject({ source: WEB, destination: ORDERS, traceId: decision?.traceId });
    expect(arrived).not.toHaveProperty('direction');
    expect(arrived?.call).not.toBe(decision?.call);
  });

  test('is refused before there is a connection, on the record of the caller alone', async () => {
    const { outbound, web, orders, reached } = await world();
    push(web, egress('out', toNobody));
    // Whoever listened there would see it.
    let connections = 0;
    const listener = createTcp((socket) => {
      connections += 1;
      socket.destroy();
    });
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const { port } = listener.address() as { port: number };
    const [service] = web.policy.current?.services.values() ?? [];
    if (service === undefined) throw new Error('no service');
    push(web, egress('out', toNobody), [
      { ...service, endpoints: [{ address: `127.0.0.1:${port}`, protocol: 'http', applicationPort: 8080 }] },
    ]);
    const answer = await fetchHttp({ port: outbound.port });
    listener.close();
    expect([answer.status, answer.headers['x-writ-reason']]).toEqual([403, 'default-deny']);
    expect(answer.headers['content-type']).toBe('application/problem+json');
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'forbidden', detail: expect.stringContaining('egress') });
    expect([connections, reached(), orders.recorder.events.length]).toEqual([0, 0, 0]);
    expect(web.recorder.decisions).toMatchObject([
      { direction: 'outbound', decision: 'deny', reason: 'default-deny', source: WEB, destination: ORDERS, port: 8080 },
    ]);
  });

  test('without an egress policy goes out, and only who is called records it', async () => {
    const { outbound, web, orders } = await world();
    expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
    expect(web.recorder.events).toEqual([]);
    expect(orders.recorder.decisions).toHaveLength(1);
  });

  test('is decided by method, path, header, and by DENY before ALLOW', async () => {
    const { outbound, web } = await world();
    const status = async (path: string, headers = {}) =>
      (await fetchHttp({ port: outbound.port, path, headers })).status;
    push(web, [
      ...egress('out', 'rules: [{to: [{operation: {namespaces: [shop], methods: [GET]}}]}]'),
      ...egress('no', 'action: DENY\nrules: [{to: [{operation: {paths: ["/admin*"]}}]}]'),
      ...egress('head', 'action: DENY\nrules: [{when: [{key: "request.headers[x-leak]", values: ["*"]}]}]'),
    ]);
    expect(await status('/ok')).toBe(200);
    expect(await status('/x/..//admin')).toBe(403);
    expect(await status('/ok', { 'x-leak': '1' })).toBe(403);
    expect((await fetchHttp({ port: outbound.port, method: 'POST' })).status).toBe(403);
  });

  test('whose path is ambiguous is not let out where policies decide', async () => {
    const { outbound, web, orders } = await world();
    push(web, egress('out', 'rules: [{}]'));
    const answer = await fetchHttp({ port: outbound.port, path: '/a/%2e%2e/%00' });
    expect([answer.status, answer.headers['x-writ-reason']]).toEqual([400, 'malformed-request']);
    expect(web.recorder.decisions).toMatchObject([{ direction: 'outbound', reason: 'malformed-request' }]);
    expect(orders.recorder.events).toEqual([]);
  });

  test('goes only to endpoints whose application has a port that may be called', async () => {
    const { outbound, web, inbound } = await world();
    const [service] = web.policy.current?.services.values() ?? [];
    if (service === undefined) throw new Error('no service');
    const good = { address: `127.0.0.1:${inbound.port}`, protocol: 'http', applicationPort: 8080 } as const;
    let others = 0;
    const other = await serve(
      createTcp((socket) => {
        others += 1;
        socket.destroy();
      }),
    );
    const bad = { address: `127.0.0.1:${other.port}`, protocol: 'http', applicationPort: 9090 } as const;
    const ports = egress('out', 'rules: [{to: [{operation: {ports: ["8080"]}}]}]');
    push(web, ports, [{ ...service, endpoints: [bad, good] }]);
    for (let i = 0; i < 4; i++) expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
    expect(web.recorder.decisions.map(({ port }) => port)).toEqual([8080, 8080, 8080, 8080]);
    expect(others).toBe(0);
    // A port that is not known is none of those that a rule names.
    const { applicationPort: _, ...unknown } = good;
    push(web, ports, [{ ...service, endpoints: [unknown] }]);
    expect((await fetchHttp({ port: outbound.port })).status).toBe(403);
  });

  test('that cannot be recorded is not let out', async () => {
    const { outbound, web, reached } = await world();
    push(web, egress('out', toOrders));
    web.recorder.beforeDurable = async () => {
      throw new AppError('audit-unavailable', 'The disk is full.');
    };
    const answer = await fetchHttp({ port: outbound.port });
    expect([answer.status, answer.headers['x-writ-reason']]).toEqual([503, 'audit-unavailable']);
    expect(reached()).toBe(0);
  });

  test('with egress policies in shadow mode or AUDIT alone goes out, and the record says what they would have done', async () => {
    const { outbound, web } = await world();
    push(web, [
      ...egress('try', 'mode: Shadow\naction: ALLOW'),
      ...egress('watch', 'action: AUDIT\nrules: [{to: [{operation: {paths: ["/x"]}}]}]'),
    ]);
    expect((await fetchHttp({ port: outbound.port, path: '/x' })).status).toBe(200);
    expect(web.recorder.decisions).toMatchObject([
      { decision: 'allow', reason: 'egress-open', shadowDecision: 'deny', auditRule: 'shop/watch@0#0' },
    ]);
  });

  test('is let out by the clock of the sidecar for as long as a grant is valid', async () => {
    const clock = new FakeClock(Date.now());
    const { outbound, web } = await world({ clock });
    const until = new Date(clock.now() + 10_000).toISOString();
    push(web, egress('out', `validity: {notAfter: "${until}"}\n${toOrders}`));
    expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
    await clock.advance(10_000);
    expect((await fetchHttp({ port: outbound.port })).status).toBe(403);
  });

  test('to or from somebody in quarantine is not let out, with or without egress policies, and is on the record', async () => {
    const { outbound, web, orders } = await world();
    web.quarantine.set({ revision: 4, ids: new Set([ORDERS]) });
    const answer = await fetchHttp({ port: outbound.port });
    expect([answer.status, answer.headers['x-writ-reason']]).toEqual([403, 'quarantined']);
    expect(web.recorder.decisions).toMatchObject([
      { direction: 'outbound', decision: 'deny', reason: 'quarantined', rule: 'quarantine@4' },
    ]);
    expect(orders.recorder.events).toEqual([]);
  });
});

test('a WebSocket is refused with an ordinary answer', async () => {
  const { outbound, web } = await world();
  push(web, egress('out', toNobody));
  const text = await rawExchange(
    await dial(outbound.port),
    'GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  );
  expect(text).toMatch(/^HTTP\/1\.1 403 /);
  expect(web.recorder.decisions).toMatchObject([{ direction: 'outbound', decision: 'deny' }]);
});

test('gRPC: a refusal is PERMISSION_DENIED, and one that is allowed arrives', async () => {
  const application = createHttp2((_req, res) => {
    res.writeHead(200, { 'content-type': 'application/grpc' });
    res.end();
  });
  const { outbound, web } = await startPair(application as unknown as Server as never);
  const session = connectHttp2(`http://127.0.0.1:${outbound.port}`);
  const call = async (path: string) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      ':authority': 'orders.shop.mesh',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.end();
    stream.resume();
    const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    return headers;
  };
  push(web, egress('out', 'rules: [{to: [{operation: {paths: [/shop.Orders/List]}}]}]'));
  expect(await call('/shop.Orders/List')).toMatchObject({ ':status': 200 });
  expect(await call('/shop.Orders/Drop')).toMatchObject({ 'grpc-status': '7', 'x-writ-reason': 'default-deny' });
  expect(web.recorder.decisions).toMatchObject([
    { protocol: 'grpc', decision: 'allow' },
    { protocol: 'grpc', decision: 'deny' },
  ]);
  session.destroy();
});

describe('a TCP connection', () => {
  const connectTo = 'CONNECT orders.shop.mesh:5432 HTTP/1.1\r\nHost: orders.shop.mesh:5432\r\n\r\n';

  test('is refused before it is opened', async () => {
    const { outbound, web, orders } = await startPair(
      createTcp((socket) => socket.end('served')),
      { protocol: 'tcp' },
    );
    push(web, egress('out', toNobody));
    expect(await rawExchange(await dial(outbound.port), connectTo)).toMatch(/^HTTP\/1\.1 403 /);
    expect(orders.recorder.events).toEqual([]);
    push(web, egress('out', toOrders));
    expect(await rawExchange(await dial(outbound.port), connectTo)).toMatch(/served$/);
    expect(web.recorder.decisions.map(({ decision, protocol }) => [decision, protocol])).toEqual([
      ['deny', 'tcp'],
      ['allow', 'tcp'],
    ]);
  });

  test('that went out when nothing decided on it is cut by an egress policy that does not allow it, on the record', async () => {
    const { outbound, web, orders } = await startPair(
      createTcp((socket) => {
        socket.on('error', () => undefined);
        socket.write('served');
      }),
      { protocol: 'tcp' },
    );
    orders.push([allow()]);
    const socket = await dial(outbound.port);
    const over = once(socket, 'close');
    socket.on('error', () => undefined);
    socket.write(connectTo);
    let text = '';
    socket.on('data', (data: Buffer) => {
      text += data.toString();
    });
    await expect.poll(() => text).toMatch(/served$/);
    expect(web.recorder.events).toEqual([]);
    push(web, egress('out', toOrders));
    push(web, egress('out', toNobody));
    await over;
    const [completion] = await web.recorder.completed(1);
    const revision = web.policy.current?.revision;
    expect(completion).toMatchObject({ cutReason: 'default-deny', cutRule: 'default-deny', cutRevision: revision });
    expect(web.recorder.decisions).toMatchObject([
      { direction: 'outbound', call: completion?.call, decision: 'deny', reason: 'default-deny' },
    ]);
  });
});
