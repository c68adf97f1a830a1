import { lstat } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../../src/base/clock.ts';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { AdminSocketOptions } from '../../../../src/node/agent/admin/admin-socket.ts';
import { serveAdminSocket } from '../../../../src/node/agent/admin/admin-socket.ts';
import { UnixAttestor } from '../../../../src/node/agent/attest-workload/unix.ts';
import { tempDirectory } from '../../../support/temp.ts';
import { TestIdentities, testEntry } from '../test-identities.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';

async function served(o: Partial<AdminSocketOptions> = {}) {
  const path = join(await tempDirectory(), 'admin.sock');
  const identities = new TestIdentities();
  const admin = await serveAdminSocket({
    path,
    spiffeId: () => 'spiffe://example.org/writ/agent/join_token/1',
    identities,
    attestors: [new UnixAttestor()],
    clock: systemClock,
    logger: silentLogger,
    ...o,
  });
  onTestFinished(() => admin.close());
  const ask = (to: string, method = 'GET') =>
    new Promise<{ status: number; body: Record<string, unknown> }>((resolve, reject) => {
      const call = request({ socketPath: path, path: to, method, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }));
      });
      call.once('error', reject);
      call.end();
    });
  return { path, identities, ask };
}

describe('the admin socket', () => {
  it('is for its own user only', async () => {
    const { path } = await served();
    expect((await lstat(path)).mode & 0o777).toBe(0o600);
    const other = await served({ userOf: () => 4711 });
    await expect(other.ask('/v1/agent')).rejects.toThrow(/ECONNRESET|EPIPE|socket hang up/);
  });

  it('outlives a caller that the kernel cannot name, as one of another PID namespace', async () => {
    let known = false;
    const { ask } = await served({
      userOf: () => {
        if (!known) throw new AppError('unavailable', 'The caller cannot be identified.');
        return 0;
      },
    });
    await expect(ask('/v1/agent')).rejects.toThrow(/ECONNRESET|EPIPE|socket hang up/);
    known = true;
    expect((await ask('/v1/agent')).status).toBe(503);
  });

  it('tells which identities a process has, what was found, and what is missing for others', async () => {
    const { identities, ask } = await served();
    const uid = `unix:uid:${process.geteuid?.()}`;
    const web = testEntry({ spiffeId: WEB, selectors: [uid], hint: 'h' });
    identities.set([web, testEntry({ spiffeId: `${WEB}2`, selectors: [uid, 'unix:path:/bin/other'] })]);
    const { status, body } = await ask(`/v1/why?pid=${process.pid}`);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      pid: process.pid,
      identities: [{ spiffeId: WEB, entryId: web.id, hint: 'h' }],
      failures: [],
      entries: 2,
      connected: true,
      nearest: [
        {
          spiffeId: `${WEB}2`,
          missing: [{ selector: 'unix:path:/bin/other', instead: [`unix:path:${process.execPath}`] }],
        },
      ],
    });
    expect(body.selectors).toContain(uid);
  });

  it('tells about the agent itself', async () => {
    const { identities, ask } = await served();
    expect((await ask('/v1/agent')).body).toMatchObject({ code: 'unavailable', status: 503 });
    identities.set([]);
    expect(await ask('/v1/agent')).toEqual({
      status: 200,
      body: {
        spiffeId: 'spiffe://example.org/writ/agent/join_token/1',
        trustDomain: 'example.org',
        entries: 0,
        bundleSequence: 1,
        connected: true,
      },
    });
  });

  it('refuses what it does not know', async () => {
    const { identities, ask } = await served();
    identities.set([]);
    expect(await ask('/v1/why?pid=4194304')).toMatchObject({
      status: 404,
      body: { detail: 'There is no process 4194304 here.' },
    });
    for (const to of [
      '/v1/why',
      '/v1/why?pid=0',
      '/v1/why?pid=-1',
      '/v1/why?pid=1e3',
      '/v1/why?pid=../1',
      '/v1/why?pid=12345678901',
    ]) {
      expect(await ask(to)).toMatchObject({ status: 400, body: { detail: 'pid must be the number of a process.' } });
    }
    expect(await ask('/')).toMatchObject({ status: 404 });
    expect(await ask('/v1/agent', 'POST')).toMatchObject({
      status: 400,
      body: { detail: 'Only GET is answered here.' },
    });
  });
});
