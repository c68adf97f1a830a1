import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { createRestServer, createRoutes } from '../../../src/edge/rest/server.ts';
import { expectAppError } from '../../support/errors.ts';
import type { World } from './world.ts';
import { createWorld, policyText } from './world.ts';

async function send(
  world: World,
  port: number,
  agent: Agent,
  o: { path: string; method?: string; body?: Buffer | string; chunked?: boolean },
) {
  const request = httpRequest({ host: '127.0.0.1', port, agent, path: o.path, method: o.method ?? 'GET' });
  request.setHeader('authorization', `Bearer ${world.token}`);
  if (o.body !== undefined) {
    request.setHeader('content-type', 'application/yaml');
    if (o.chunked !== true) request.setHeader('content-length', Buffer.byteLength(o.body));
  }
  request.end(o.body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const body = await text(response);
  return { status: response.statusCode, headers: response.headers, body, reused: request.reusedSocket };
}

async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(bytes);
  return text(socket);
}

describe('over a real socket', () => {
  it.each([
    ['with a declared length', false],
    ['in chunks', true],
  ])('a 5 MB body %s gets a problem, and the connection goes on', async (_title, chunked) => {
    const world = await createWorld();
    const { port } = await world.listen();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const body = Buffer.alloc(5 * 1024 * 1024, 0x61);
    const large = await send(world, port, agent, { path: '/v1/policies/shop/web', method: 'PUT', body, chunked });
    expect({ status: large.status, type: large.headers['content-type'] }).toEqual({
      status: 413,
      type: 'application/problem+json; charset=utf-8',
    });
    expect(JSON.parse(large.body)).toMatchObject({ code: 'too-large', status: 413 });
    const next = await send(world, port, agent, {
      path: '/v1/policies/shop/web',
      method: 'PUT',
      body: policyText('web'),
    });
    expect({ status: next.status, reused: next.reused }).toEqual({ status: 201, reused: true });
    agent.destroy();
  });

  it('a body that is far too large loses its connection', async () => {
    const world = await createWorld();
    const { port } = await world.listen();
    const answer = await raw(
      port,
      `PUT /v1/policies/shop/web HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${world.token}\r\nContent-Type: application/yaml\r\nContent-Length: 99999999\r\n\r\nabc`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toMatch(/\r\nconnection: close\r\n/i);
  });

  it('malformed JSON does not cost the connection', async () => {
    const world = await createWorld();
    const { port } = await world.listen();
    const answer = await raw(
      port,
      `POST /v1/entries HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${world.token}\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{` +
        `GET /v1/jwks HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 400 [\s\S]*HTTP\/1\.1 200 OK/);
  });

  it('what is no HTTP gets a problem, and headers that are too large 431', async () => {
    const world = await createWorld();
    const { port } = await world.listen();
    const [head, body] = (await raw(port, 'nonsense\r\n\r\n')).split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 400 Bad Request\r\nContent-Type: application\/problem\+json/);
    expect(JSON.parse(body ?? '')).toMatchObject({ status: 400, code: 'invalid' });
    expect(await raw(port, `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    );
  });

  it('a request without Host, or with another port in it, is refused', async () => {
    const world = await createWorld();
    const { port } = await world.listen();
    expect(await raw(port, 'GET /v1/jwks HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 403 /);
    expect(await raw(port, 'GET /v1/jwks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')).toMatch(
      /^HTTP\/1\.1 403 /,
    );
    expect(await raw(port, `GET /v1/jwks HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: close\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 200 /,
    );
  });

  it('a client that sends slowly holds up nobody else, and is given a limited time', async () => {
    const world = await createWorld();
    const { port } = await world.listen();
    const slow = connect(port, '127.0.0.1');
    slow.write(
      `PUT /v1/policies/shop/web HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${world.token}\r\nContent-Type: application/yaml\r\nContent-Length: 100\r\n\r\nap`,
    );
    const agent = new Agent();
    expect((await send(world, port, agent, { path: '/v1/proxies' })).status).toBe(200);
    slow.destroy();
    const { app } = await createRoutes(world.deps, {
      host: '127.0.0.1',
      port: 1,
      stopping: new AbortController().signal,
    });
    const { requestTimeout, headersTimeout, keepAliveTimeout } = app.server;
    expect({ requestTimeout, headersTimeout, keepAliveTimeout }).toEqual({
      requestTimeout: 30_000,
      headersTimeout: 10_000,
      keepAliveTimeout: 30_000,
    });
    await app.close();
  });

  it('a taken port gives one clear error', async () => {
    const world = await createWorld();
    const { port } = await world.listen();
    await expectAppError(
      createRestServer(world.deps, { host: '127.0.0.1', port }),
      'unavailable',
      new RegExp(`127.0.0.1:${port} \\(EADDRINUSE\\)`),
    );
  });

  it('stopping lets a running request finish, and cuts one that goes on too long', async () => {
    const world = await createWorld();
    const pending: ((value: { items: []; nextCursor: null; revision: number }) => void)[] = [];
    world.audit.search = () => new Promise((resolve) => pending.push(resolve));
    const server = await world.listen();
    const ask = () => fetch(`${server.url}/v1/audit/events`, { headers: { authorization: `Bearer ${world.token}` } });
    const finishing = ask();
    const hanging = ask();
    hanging.catch(() => undefined);
    while (pending.length < 2) await new Promise((resolve) => setImmediate(resolve));
    const closed = server.close();
    pending[0]?.({ items: [], nextCursor: null, revision: 0 });
    expect((await finishing).status).toBe(200);
    await world.clock.advance(5_000);
    await expect(hanging).rejects.toThrow();
    await closed;
  });

  it('stopping does not wait for a connection on which nothing was asked', async () => {
    const world = await createWorld();
    const server = await world.listen();
    const socket = connect(server.port, '127.0.0.1');
    await once(socket, 'connect');
    const closed = once(socket, 'close');
    await fetch(`${server.url}/v1/jwks`);
    await server.close();
    socket.resume();
    await closed;
  });

  it('stopping twice is stopping once, and no connection remains', async () => {
    const world = await createWorld();
    const server = await world.listen();
    const agent = new Agent({ keepAlive: true });
    await send(world, server.port, agent, { path: '/v1/proxies' });
    await Promise.all([server.close(), server.close()]);
    await expect(fetch(server.url)).rejects.toThrow();
    agent.destroy();
  });
});
