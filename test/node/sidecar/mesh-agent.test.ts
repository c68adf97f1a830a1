import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { defaultLimits } from '../../../src/node/sidecar/limits.ts';
import { MeshAgent } from '../../../src/node/sidecar/mesh-agent.ts';
import { FakeClock } from '../../support/clock.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { serve, WEB } from './mesh.ts';

/** Over plain TCP: what is tested is when a connection is kept. */
async function start() {
  const clock = new FakeClock(Date.now());
  const sockets: Socket[] = [];
  let answer: () => void = () => undefined;
  const server = createServer((req, res) => {
    if (req.url === '/wait') answer = () => res.end('ok');
    else res.end('ok');
  });
  server.on('connection', (socket: Socket) => sockets.push(socket));
  const { port } = await serve(server);
  const svid = createTestAuthority().issue(WEB);
  const peer = { ...svid, notAfter: clock.now() + 60_000, certificate: Buffer.alloc(0) };
  const open = async () => ({ socket: connect({ host: '127.0.0.1', port }) as TLSSocket, peer });
  const agent = new MeshAgent(open, clock, defaultLimits);
  onTestFinished(() => agent.destroy());
  const get = async (path: string) => {
    const req = request({ agent, host: '127.0.0.1', port, path });
    req.end();
    const [res] = await once(req, 'response');
    res.resume();
    await once(res, 'end');
  };
  return { clock, sockets, agent, get, answer: () => answer() };
}

test('one connection carries one call after the other', async () => {
  const { sockets, get } = await start();
  await get('/');
  await get('/');
  expect(sockets).toHaveLength(1);
});

test('draining closes idle connections now, and busy ones after their answer', async () => {
  const { sockets, agent, get, answer } = await start();
  const long = get('/wait');
  await get('/');
  const [busy, idle] = sockets;
  agent.drain();
  await expect.poll(() => idle?.destroyed).toBe(true);
  expect(busy?.destroyed).toBe(false);
  answer();
  await long;
  await expect.poll(() => busy?.destroyed).toBe(true);
});

test("a connection is given up when the other side's certificate expires", async () => {
  const { clock, sockets, get } = await start();
  await get('/');
  await clock.advance(61_000);
  await expect.poll(() => sockets[0]?.destroyed).toBe(true);
  await get('/');
  expect(sockets).toHaveLength(2);
});
