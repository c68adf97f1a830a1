import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import type { Check } from '../../../src/edge/rest/health.ts';
import { createHealthServer } from '../../../src/edge/rest/health.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';

async function start(ready: () => readonly Check[] | Promise<readonly Check[]>, clock = new FakeClock()) {
  const server = await createHealthServer({ ready, clock, logger: silentLogger }, { host: '127.0.0.1', port: 0 });
  onTestFinished(() => server.close());
  return server;
}

async function ask(url: string, init?: RequestInit) {
  const response = await fetch(url, init);
  return { status: response.status, body: await response.text() };
}

describe('health', () => {
  it('is ready when every check passes, and lists them on request', async () => {
    const { url } = await start(() => [
      { name: 'store', ok: true },
      { name: 'signer', ok: true },
    ]);
    expect(await ask(`${url}/readyz`)).toEqual({ status: 200, body: 'ok\n' });
    expect(await ask(`${url}/readyz?verbose`)).toEqual({ status: 200, body: '[+]store ok\n[+]signer ok\nok\n' });
  });

  it('is not ready when one check fails, names it, and keeps why to itself', async () => {
    const { url } = await start(() => [
      { name: 'store', ok: false, why: 'password wrong' },
      { name: 'signer', ok: true },
    ]);
    expect(await ask(`${url}/readyz`)).toEqual({ status: 503, body: '[-]store failed\n[+]signer ok\nnot ready\n' });
    expect(await ask(`${url}/livez?verbose`)).toEqual({ status: 200, body: '[+]process ok\nok\n' });
  });

  it('is not ready when the checks throw or take too long', async () => {
    const throwing = await start(() => {
      throw new Error('no');
    });
    expect((await ask(`${throwing.url}/readyz`)).status).toBe(503);
    const clock = new FakeClock();
    const hanging = await start(() => new Promise(() => undefined), clock);
    const answer = ask(`${hanging.url}/readyz`);
    while (clock.pendingTimers === 0) await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(2_000);
    expect(await answer).toEqual({ status: 503, body: '[-]checks failed\nnot ready\n' });
    expect(clock.pendingTimers).toBe(0);
  });

  it('serves nothing else', async () => {
    const { url } = await start(() => []);
    expect((await ask(`${url}/`)).status).toBe(404);
    expect((await ask(`${url}/readyz`, { method: 'POST' })).status).toBe(405);
    expect(await ask(`${url}/livez`, { method: 'HEAD' })).toEqual({ status: 200, body: '' });
  });

  it('says when its port is taken', async () => {
    const { port } = await start(() => []);
    const again = createHealthServer(
      { ready: () => [], clock: new FakeClock(), logger: silentLogger },
      { host: '127.0.0.1', port },
    );
    await expectAppError(again, 'unavailable', /EADDRINUSE/);
  });
});
