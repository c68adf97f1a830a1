import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parsePolicies } from '../../../src/core/policy/parse.ts';
import { demoPolicies } from '../../../src/main/dev/demo.ts';

/** Stands where the outbound port of a sidecar would be. */
async function outbound(onCall: (request: IncomingMessage) => void = () => undefined) {
  const server = createServer((request, response) => {
    onCall(request);
    response.writeHead(request.headers.host === 'payments.shop.mesh' ? 200 : 403).end('answer');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

async function start(...argv: string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [resolve('src/main/dev/service.ts'), ...argv], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [message] = await once(child, 'message');
  expect(message).toEqual({ type: 'ready' });
  return child;
}

describe('a demo service', () => {
  it('calls the next one through its sidecar with the trace of its caller, and says what it got', async () => {
    const seen: (string | undefined)[] = [];
    const through = await outbound((request) =>
      seen.push(request.headers.host, request.url, String(request.headers.traceparent)),
    );
    const port = await freePort();
    const child = await start('--name=orders', `--port=${port}`, `--outbound=${through}`);
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    const xfcc = 'By=spiffe://x;Hash=1;URI=spiffe://example.org/ns/shop/sa/web';
    const answer = await fetch(`http://127.0.0.1:${port}/x`, {
      headers: { traceparent, 'x-forwarded-client-cert': xfcc },
    });
    expect([answer.status, await answer.json()]).toEqual([
      200,
      {
        service: 'orders',
        path: '/x',
        caller: 'spiffe://example.org/ns/shop/sa/web',
        calls: [{ to: 'payments.shop.mesh', status: 200, answer: 'answer' }],
      },
    ]);
    expect(seen).toEqual(['payments.shop.mesh', '/charge', traceparent]);
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('answers 502 when the next one cannot be called', async () => {
    const port = await freePort();
    await start('--name=orders', `--port=${port}`, `--outbound=${await freePort()}`);
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(502);
  });

  it('makes traffic by itself: what is allowed, and now and then what is not', async () => {
    const hosts = new Set<string | undefined>();
    let both: () => void = () => undefined;
    const seenBoth = new Promise<void>((done) => {
      both = done;
    });
    const through = await outbound((request) => {
      hosts.add(request.headers.host);
      if (hosts.size === 2) both();
    });
    await start('--name=web', `--port=${await freePort()}`, `--outbound=${through}`, '--traffic');
    await seenBoth;
    expect([...hosts]).toEqual(['orders.shop.mesh', 'payments.shop.mesh']);
  });

  it('tells its supervisor in one line that its port is taken', async () => {
    const port = await outbound();
    const child = spawn(process.execPath, [resolve('src/main/dev/service.ts'), '--name=web', `--port=${port}`], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    let stderr = '';
    child.stderr?.on('data', (chunk) => {
      stderr += String(chunk);
    });
    const told = once(child, 'message');
    const closed = once(child, 'close');
    const message = `Port ${port} is taken. Stop what listens there, or shift all ports: npm start -- --port-base 18080`;
    expect((await told)[0]).toEqual({ type: 'failed', code: 'conflict', message });
    expect(await closed).toEqual([5, null]);
    expect(stderr).toBe(`error: ${message}\n`);
  });

  it('ends with its supervisor', async () => {
    const child = await start('--name=payments', `--port=${await freePort()}`);
    child.disconnect();
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
});

describe('demo policies', () => {
  it('are valid, and named as they are put', () => {
    for (const { name, source } of demoPolicies) {
      const [document, ...others] = parsePolicies(source);
      expect(others).toEqual([]);
      expect(document?.policy).toMatchObject({ namespace: 'shop', name, action: 'ALLOW', selector: { app: name } });
    }
  });
});
