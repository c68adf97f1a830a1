import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, createServer as createHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import { createServer as createTcp } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Policy } from '../../../src/core/policy/model.ts';
import type { PeerMode, PeerModes } from '../../../src/core/policy/peer-authentication.ts';
import { authenticationOf } from '../../../src/node/sidecar/authentication-state.ts';
import { authentication, EndUsers } from '../../support/end-users.ts';
import { dial, dialTls, fetchHttp, keepAliveAgent, rawExchange } from './http.ts';
import { allow, exact, ORDERS, policy, startPair, WEB } from './mesh.ts';

const everybody: Policy = policy('open', 'ALLOW', [{ from: [], to: [] }]);

function modes(mode: PeerMode, ...ports: [number, PeerMode][]): { readonly peerModes: PeerModes } {
  return { peerModes: { mode, ports: new Map(ports) } };
}

async function startOpen(
  application = createServer((req, res) => res.end(JSON.stringify(req.headers))),
  policies = [everybody],
) {
  const pair = await startPair(application);
  pair.orders.push(policies, [], modes('PERMISSIVE'));
  return pair;
}

describe('rule 51: STRICT, the default', () => {
  test('plain text gets no answer, and nothing of it reaches the application or the record', async () => {
    let reached = 0;
    const { inbound, orders } = await startPair(createServer(() => (reached += 1)));
    orders.push([everybody]);
    for (const state of [{}, modes('STRICT')]) {
      orders.push([everybody], [], state);
      const text = await rawExchange(await dial(inbound.port), 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      expect(text).not.toContain('HTTP/1.1');
    }
    expect(reached).toBe(0);
    expect(orders.recorder.events).toEqual([]);
  });

  test('without a policy nobody is let in, whatever was before', async () => {
    const { inbound, orders } = await startOpen();
    orders.policy.set(undefined);
    expect(await rawExchange(await dial(inbound.port), 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).not.toContain('200');
  });
});

describe('rule 51: PERMISSIVE', () => {
  test('HTTP/1.1 is served as the call of nobody, with a mark on the record', async () => {
    const { inbound, orders } = await startOpen();
    const answer = await fetchHttp({
      port: inbound.port,
      headers: { 'x-forwarded-client-cert': `By=${ORDERS};URI=${WEB}` },
    });
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).not.toHaveProperty('x-forwarded-client-cert');
    expect(orders.recorder.decisions).toMatchObject([
      { source: '', certificateSerial: '', transport: 'plaintext', decision: 'allow', rule: 'shop/open@7#0' },
    ]);
    await orders.recorder.completed(1);
  });

  test('mutual TLS goes on as before, and carries no mark', async () => {
    const { outbound, orders } = await startOpen();
    expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
    expect(orders.recorder.decisions).toMatchObject([{ source: WEB }]);
    expect(orders.recorder.decisions[0]).not.toHaveProperty('transport');
  });

  test('TLS without a certificate is not plain text, and is refused', async () => {
    const { inbound, orders } = await startOpen();
    const socket = await dialTls(inbound.port, {});
    expect(await rawExchange(socket, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).toBe('');
    expect(orders.recorder.events).toEqual([]);
  });

  test('no rule that names a caller lets nobody in', async () => {
    const { inbound, orders } = await startOpen(undefined, [allow()]);
    for (const from of [
      { principals: [exact('example.org/ns/shop/sa/web')], namespaces: [] },
      { principals: [{ kind: 'present' as const }], namespaces: [] },
      { principals: [], namespaces: [exact('shop')] },
      { principals: [], namespaces: [{ kind: 'present' as const }] },
    ]) {
      orders.push([policy('named', 'ALLOW', [{ from: [from], to: [] }])], [], modes('PERMISSIVE'));
      expect((await fetchHttp({ port: inbound.port })).status).toBe(403);
    }
    orders.push([], [], modes('PERMISSIVE'));
    expect((await fetchHttp({ port: inbound.port })).status).toBe(403);
  });

  test('the mode of a port goes before that of the workload', async () => {
    const { inbound, orders } = await startOpen();
    const { port } = { port: orders.recorder.decisions[0]?.port ?? 0 };
    expect(port).toBe(0);
    await fetchHttp({ port: inbound.port });
    const own = orders.recorder.decisions[0]?.port ?? 0;
    orders.push([everybody], [], modes('PERMISSIVE', [own, 'STRICT']));
    await expect(fetchHttp({ port: inbound.port })).rejects.toThrow();
    orders.push([everybody], [], modes('STRICT', [own, 'PERMISSIVE'], [1, 'STRICT']));
    expect((await fetchHttp({ port: inbound.port })).status).toBe(200);
  });

  test('a request cut into single bytes is read whole; several follow one another', async () => {
    const { inbound } = await startOpen();
    const socket = await dial(inbound.port);
    socket.setNoDelay(true);
    let text = '';
    socket.on('data', (data: Buffer) => {
      text += data.toString();
    });
    const request =
      'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPUT /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    for (const byte of request) {
      socket.write(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await once(socket, 'close');
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
  });

  test('HTTP/2 with prior knowledge is served, whole at once and cut into single bytes', async () => {
    const pair = await startPair(createHttp2((req, res) => res.end(req.url)));
    pair.orders.push([everybody], [], modes('PERMISSIVE'));
    for (const cut of [false, true]) {
      const socket = await dial(pair.inbound.port);
      const session = connect('http://orders', { createConnection: () => (cut ? slowly(socket) : socket) });
      onTestFinished(() => session.destroy());
      for (const path of ['/one', '/two']) {
        const stream = session.request({ ':authority': 'orders', ':path': path });
        let text = '';
        stream.on('data', (data: Buffer) => {
          text += data.toString();
        });
        const [answer] = (await once(stream, 'response')) as [{ ':status': number }];
        await once(stream, 'end');
        expect([answer[':status'], text]).toEqual([200, path]);
      }
      session.close();
    }
    expect(pair.orders.recorder.decisions.every((event) => event.transport === 'plaintext')).toBe(true);
  });

  test('TCP is carried, also where the server speaks first', async () => {
    const pair = await startPair(
      createTcp((socket) => {
        socket.write('hello ');
        socket.pipe(socket);
      }),
      { protocol: 'tcp' },
    );
    pair.orders.push([everybody], [], modes('PERMISSIVE'));
    const speaks = await dial(pair.inbound.port);
    speaks.end('x');
    expect(await textOf(speaks)).toBe('hello x');
    const waits = await dial(pair.inbound.port);
    const [first] = (await once(waits, 'data')) as [Buffer];
    expect(first.toString()).toBe('hello ');
    expect(pair.orders.recorder.decisions).toMatchObject([
      { protocol: 'tcp', transport: 'plaintext', source: '' },
      { protocol: 'tcp', transport: 'plaintext', source: '' },
    ]);
  });

  test('ambiguous requests are refused as in the mesh', async () => {
    const { inbound, orders } = await startOpen();
    const text = await rawExchange(await dial(inbound.port), 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(orders.recorder.decisions).toMatchObject([{ reason: 'malformed-request', transport: 'plaintext' }]);
  });

  test('the token of an end user counts in plain text too', async () => {
    const users = new EndUsers();
    const { inbound, orders } = await startOpen();
    const conditions = [{ key: 'request.auth.principal', values: [`${users.issuer}/alice`], notValues: [] }];
    const content = {
      policies: [],
      services: [],
      bundle: {} as never,
      requestAuthentications: [authentication(users.rule())],
    };
    const state = { ...modes('PERMISSIVE'), ...authenticationOf(content, undefined), ...modes('PERMISSIVE') };
    orders.push([policy('users', 'ALLOW', [{ from: [], to: [], when: conditions }])], [], state);
    expect((await fetchHttp({ port: inbound.port })).status).toBe(403);
    const headers = { authorization: `Bearer ${users.token()}` };
    expect((await fetchHttp({ port: inbound.port, headers })).status).toBe(200);
    expect((await fetchHttp({ port: inbound.port, headers: { authorization: 'Bearer x' } })).status).toBe(401);
  });

  test('a caller that says nothing does not stay', async () => {
    const pair = await startPair(
      createServer((_req, res) => res.end()),
      { limits: { handshakeTimeoutMs: 50 } },
    );
    pair.orders.push([everybody], [], modes('PERMISSIVE'));
    const socket = await dial(pair.inbound.port);
    socket.resume();
    await once(socket, 'close');
    const half = await dial(pair.inbound.port);
    half.resume();
    half.write('PR');
    await once(half, 'close');
  });

  test('whatever the first bytes are, the sidecar goes on', async () => {
    const { inbound, outbound } = await startOpen();
    for (const bytes of [[0x16], [0x16, 3, 1, 0xff, 0xff], [0], [0x80, 0x2e, 1], [0xff], [10], [13, 10]]) {
      const socket = await dial(inbound.port);
      socket.on('error', () => undefined);
      socket.resume();
      socket.end(Buffer.from([...bytes, ...Buffer.alloc(64, 0x41)]));
      await once(socket, 'close');
    }
    expect((await fetchHttp({ port: inbound.port })).status).toBe(200);
    expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
  });
});

describe('PERMISSIVE that is taken back', () => {
  test('idle connections in plain text end, and those of the mesh do not', async () => {
    const { inbound, outbound, orders } = await startOpen();
    const plain = keepAliveAgent();
    expect((await fetchHttp({ port: inbound.port, agent: plain })).status).toBe(200);
    const [socket] = Object.values(plain.freeSockets).flat() as Socket[];
    const mesh = keepAliveAgent();
    expect((await fetchHttp({ port: outbound.port, agent: mesh })).status).toBe(200);
    const closed = socket === undefined ? Promise.reject(new Error('no connection')) : once(socket, 'close');
    orders.push([everybody]);
    await closed;
    expect((await fetchHttp({ port: outbound.port, agent: mesh })).status).toBe(200);
  });

  test('open TCP connections in plain text are cut, and the record says why', async () => {
    const pair = await startPair(
      createTcp((socket) => void socket.pipe(socket)),
      { protocol: 'tcp' },
    );
    pair.orders.push([everybody], [], modes('PERMISSIVE'));
    const socket = await dial(pair.inbound.port);
    socket.write('x');
    await once(socket, 'data');
    socket.resume();
    pair.orders.push([everybody]);
    await once(socket, 'close');
    expect(await pair.orders.recorder.completed(1)).toMatchObject([{ cutReason: 'plaintext-refused' }]);
  });
});

test('calls in plain text are counted', async () => {
  const { inbound, outbound, orders } = await startOpen();
  await fetchHttp({ port: inbound.port });
  await fetchHttp({ port: inbound.port });
  await fetchHttp({ port: outbound.port });
  expect(orders.enforcers.map((each) => each.plainTextCalls)).toEqual([2]);
});

async function textOf(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (data: Buffer) => {
    text += data.toString();
  });
  await once(socket, 'close');
  return text;
}

/** Writes byte by byte. */
function slowly(socket: Socket): Socket {
  const write = socket.write.bind(socket) as (data: Buffer) => boolean;
  socket.setNoDelay(true);
  socket.write = ((data: Buffer | string, ...rest: unknown[]) => {
    for (const byte of Buffer.from(data as string)) write(Buffer.from([byte]));
    const done = rest.find((each) => typeof each === 'function') as (() => void) | undefined;
    done?.();
    return true;
  }) as Socket['write'];
  return socket;
}
