import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { witnessAsker } from '../../../src/edge/witness/ask-witness.ts';
import type { ServeWitnessOptions } from '../../../src/node/witness/serve-witness.ts';
import { serveWitness } from '../../../src/node/witness/serve-witness.ts';
import { nameOf } from '../../../src/node/witness/witness-files.ts';
import { logWorld, openTestLog, origin } from '../../support/audit-log.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';
import { openWitness } from '../../support/witness.ts';

const ask = witnessAsker();
const forever = new AbortController().signal;

/** Whatever answers, on loopback; its URL. */
async function answering(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function served(o: Partial<ServeWitnessOptions> = {}): Promise<string> {
  const witness = await openWitness(undefined);
  const server = await serveWitness({
    host: '127.0.0.1',
    port: 0,
    witness,
    tls: undefined,
    clock: new FakeClock(),
    logger: silentLogger,
    ...o,
  });
  onTestFinished(() => server.close());
  return `http://127.0.0.1:${server.port}`;
}

async function checkpoint(): Promise<Buffer> {
  return (await openTestLog(logWorld())).log.published.current.note;
}

describe('asking a witness', () => {
  it('audit 21: gets the cosignature of one that serves, and anybody may see what it has cosigned', async () => {
    const url = await served();
    const note = await checkpoint();
    const answer = await ask(`${url}/`, Buffer.concat([Buffer.from('old 0\n\n'), note]), forever);
    expect(answer).toMatchObject({ kind: 'cosigned' });
    const latest = await fetch(`${url}/${nameOf(origin)}/checkpoint`);
    expect(latest.status).toBe(200);
    expect(latest.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(await latest.text()).toBe(`${note}${answer.kind === 'cosigned' ? answer.lines : ''}`);
    expect((await fetch(`${url}/${nameOf('other')}/checkpoint`)).status).toBe(404);
  });

  it('audit 21: reads each refusal as the standard means it', async () => {
    const replies: Record<string, [number, string]> = {
      '/409': [409, '17\n'],
      '/409x': [409, 'many'],
      '/409y': [409, '9999999999999999\n'],
      '/422': [422, 'no'],
      '/404': [404, ''],
      '/403': [403, ''],
      '/500': [500, '<secret>'],
      '/302': [302, ''],
    };
    const url = await answering((request, response) => {
      const [status, body] = replies[request.url?.replace('/add-checkpoint', '') ?? ''] ?? [500, ''];
      response.writeHead(status, { location: 'http://127.0.0.1:1/' }).end(body);
    });
    const asked = (path: string) => ask(`${url}${path}`, Buffer.from('old 0\n\n'), forever);
    expect(await asked('/409')).toEqual({ kind: 'stale', size: 17 });
    expect(await asked('/409x')).toEqual({ kind: 'refused', why: 'It answered 409 without a size.' });
    expect(await asked('/409y')).toEqual({ kind: 'refused', why: 'It answered 409 without a size.' });
    expect(await asked('/422')).toEqual({ kind: 'contradicted' });
    expect(await asked('/404')).toEqual({ kind: 'refused', why: 'It does not follow this log (404).' });
    expect(await asked('/403')).toEqual({ kind: 'refused', why: 'It knows this log by other keys (403).' });
    expect(await asked('/500')).toEqual({ kind: 'refused', why: 'It answered 500.' });
    expect(await asked('/302')).toEqual({ kind: 'refused', why: 'It answered 302.' });
  });

  it('reads no more than a few lines, and waits no longer than it is told to', async () => {
    const long = await answering((_, response) => response.end(Buffer.alloc(70_000, 'a')));
    await expectAppError(ask(long, Buffer.from('x'), forever), 'unavailable', 'It answered more than 65536 bytes.');
    const cut = await answering((_, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('a');
      setImmediate(() => response.destroy());
    });
    await expectAppError(ask(cut, Buffer.from('x'), forever), 'unavailable');
    await expectAppError(
      ask('http://127.0.0.1:1', Buffer.from('x'), forever),
      'unavailable',
      'It could not be reached.',
    );
    const stop = new AbortController();
    const hanging = await answering(() => stop.abort());
    await expectAppError(ask(hanging, Buffer.from('x'), stop.signal), 'unavailable');
  });
});

describe('a witness over HTTP', () => {
  it('takes POST where it is asked and GET where it is looked at, and nothing else', async () => {
    const url = await served();
    const get = await fetch(`${url}/add-checkpoint`);
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST']);
    expect((await fetch(`${url}/`)).status).toBe(404);
    expect((await fetch(`${url}/${nameOf(origin).toUpperCase()}/checkpoint`)).status).toBe(404);
    const asked = await fetch(`${url}/add-checkpoint`, { method: 'POST', body: 'hello' });
    expect([asked.status, asked.headers.get('cache-control')]).toEqual([400, 'no-store']);
  });

  it('reads no body that is longer than a checkpoint and its proof can be', async () => {
    const url = await served();
    // Declared or not.
    for (const headers of [{ 'content-length': '400000' }, {}]) {
      const request = httpRequest(`${url}/add-checkpoint`, { method: 'POST', headers });
      request.on('error', () => undefined);
      const answered = once(request, 'response');
      request.write(Buffer.alloc(300_000, 'a'));
      const [response] = await answered;
      expect(response.statusCode).toBe(413);
      request.destroy();
    }
  });

  it('limits how often one address asks', async () => {
    const url = await served({ rate: { perSecond: 1, burst: 2 } });
    const statuses: number[] = [];
    for (let i = 0; i < 3; i++) {
      const { status, headers } = await fetch(`${url}/add-checkpoint`, { method: 'POST', body: 'x' });
      statuses.push(status);
      if (status === 429) expect(headers.get('retry-after')).toBe('1');
    }
    expect(statuses).toEqual([400, 400, 429]);
  });

  it('answers 503, without saying why, when it cannot write', async () => {
    const url = await served({
      witness: {
        addCheckpoint: () => Promise.reject(new Error('ENOSPC: /var/lib/secret')),
        latest: () => undefined,
      },
    });
    const response = await fetch(`${url}/add-checkpoint`, { method: 'POST', body: 'x' });
    expect(response.status).toBe(503);
    expect(await response.text()).toBe('The witness cannot write down what it would cosign. Try again later.\n');
  });

  it('still serves after whatever was sent to it', async () => {
    const url = await served({ rate: { perSecond: 1e6, burst: 1e6 } });
    const { port } = new URL(url);
    const good = Buffer.from('POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nold 0');
    for (let i = 0; i < 60; i++) {
      const socket = connect(Number(port), '127.0.0.1');
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      const bytes = i % 3 === 0 ? randomBytes(300) : Buffer.from(good);
      if (i % 3 === 1) bytes.writeUInt8((i * 37) % 256, (i * 7) % bytes.length);
      if (i % 3 === 2) socket.end(bytes.subarray(0, (i * 5) % bytes.length));
      else socket.end(bytes);
      socket.resume();
      await once(socket, 'close');
    }
    expect((await fetch(`${url}/add-checkpoint`, { method: 'POST', body: 'x' })).status).toBe(400);
  });
});
