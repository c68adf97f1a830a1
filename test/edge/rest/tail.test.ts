import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { get } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { HEARTBEAT_MS, MAX_STREAMS, STALL_MS } from '../../../src/edge/rest/sse.ts';
import { auditRecord } from './audit.ts';
import type { World } from './world.ts';
import { createWorld } from './world.ts';

interface Tail {
  readonly response: IncomingMessage;
  /** Resolves once everything that came so far contains `text`; with all of it. */
  until(text: string): Promise<string>;
  close(): void;
}

async function openTail(world: World, url: string, query = ''): Promise<Tail> {
  const request = get(`${url}/v1/audit/tail${query}`, {
    headers: { authorization: `Bearer ${world.token}` },
    agent: false,
  });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let seen = '';
  response.setEncoding('utf8').on('data', (chunk: string) => {
    seen += chunk;
  });
  response.on('error', () => undefined);
  return {
    response,
    until: async (text) => {
      while (!seen.includes(text)) await once(response, 'data');
      return seen;
    },
    close: () => request.destroy(),
  };
}

async function eventually(check: () => boolean): Promise<void> {
  while (!check()) await new Promise((resolve) => setImmediate(resolve));
}

describe('GET /v1/audit/tail', () => {
  it('streams each matching record as one event, and what was lost', async () => {
    const world = await createWorld();
    const { url } = await world.listen();
    const tail = await openTail(world, url, '?decision=deny');
    expect(tail.response.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
    await tail.until(': open\n\n');
    await eventually(() => world.audit.openTails === 1);
    const record = auditRecord({
      decision: 'deny',
      operation: { protocol: 'http', method: 'GET', host: 'h', path: '/a\n\nevent: x', port: 1 },
    });
    world.audit.emit({ type: 'record', record: auditRecord() });
    world.audit.emit({ type: 'record', record });
    world.audit.emit({ type: 'lost', count: 3 });
    const seen = await tail.until('event: lost');
    expect(seen).toBe(
      `: open\n\nid: ${record.id}\nevent: record\ndata: ${JSON.stringify(record)}\n\nevent: lost\ndata: {"count":3}\n\n`,
    );
    tail.close();
  });

  it('keeps an idle connection alive with comments', async () => {
    const world = await createWorld();
    const { url } = await world.listen();
    const tail = await openTail(world, url);
    await eventually(() => world.audit.openTails === 1);
    await world.clock.advance(2 * HEARTBEAT_MS);
    expect(await tail.until('here\n\n: still here\n\n')).toBe(': open\n\n: still here\n\n: still here\n\n');
    tail.close();
  });

  it('ends its search when the caller goes away', async () => {
    const world = await createWorld();
    const { url } = await world.listen();
    // What is read is recorded in groups: from here on there is a timer for that.
    await world.request({ url: '/v1/info' });
    const before = world.clock.pendingTimers;
    const tail = await openTail(world, url);
    await eventually(() => world.audit.openTails === 1);
    tail.close();
    await eventually(() => world.audit.openTails === 0);
    await eventually(() => world.clock.pendingTimers === before);
  });

  it('ends, in order, when the server stops', async () => {
    const world = await createWorld();
    const server = await world.listen();
    const tail = await openTail(world, server.url);
    await eventually(() => world.audit.openTails === 1);
    const ended = once(tail.response, 'end');
    await server.close();
    await ended;
    expect(world.audit.openTails).toBe(0);
  });

  it('asks for nothing more while its reader takes nothing, and cuts a reader that stalls', async () => {
    const world = await createWorld();
    let asked = 0;
    let ended = false;
    const big = auditRecord({ rule: 'x'.repeat(64 * 1024) });
    async function* flood(_query: unknown, signal: AbortSignal) {
      try {
        while (!signal.aborted) {
          asked += 1;
          yield { type: 'record' as const, record: big };
        }
      } finally {
        ended = true;
      }
    }
    world.audit.tail = flood as never;
    const server = await world.listen();
    const socket = connect(server.port, '127.0.0.1');
    const closed = once(socket, 'close');
    socket.on('error', () => undefined);
    socket.pause();
    socket.write(
      `GET /v1/audit/tail HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nAuthorization: Bearer ${world.token}\r\n\r\n`,
    );
    // Kernel buffers take some megabytes; then the number of records that were asked for stands still.
    let before = -1;
    while (asked !== before || asked === 0) {
      before = asked;
      for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(asked).toBeLessThan(2_000);
    await world.clock.advance(STALL_MS);
    await eventually(() => ended);
    socket.resume();
    await closed;
  });

  it('cuts the connection when the index fails, so that the caller knows', async () => {
    const world = await createWorld();
    const fail = Promise.withResolvers<void>();
    world.audit.tail = async function* () {
      yield { type: 'lost' as const, count: 1 };
      await fail.promise;
      throw new Error('disk on fire');
    } as never;
    const { url } = await world.listen();
    const tail = await openTail(world, url);
    await tail.until('event: lost');
    const failed = once(tail.response, 'error');
    fail.resolve();
    const [error] = (await failed) as [Error];
    expect(error.message).toBe('aborted');
    expect(world.logLines).toContainEqual(expect.objectContaining({ msg: 'a live stream failed' }));
  });

  it('is refused beyond a number of streams at a time, as a problem', async () => {
    const world = await createWorld();
    const { url } = await world.listen();
    const tails = await Promise.all(Array.from({ length: MAX_STREAMS }, () => openTail(world, url)));
    const headers = { authorization: `Bearer ${world.token}` };
    const refused = await fetch(`${url}/v1/audit/tail`, { headers });
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('10');
    expect(await refused.json()).toMatchObject({ code: 'exhausted' });
    for (const tail of tails) tail.close();
    await eventually(() => world.audit.openTails === 0);
    const again = await openTail(world, url);
    expect(again.response.statusCode).toBe(200);
    again.close();
  });
});
