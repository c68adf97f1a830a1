import { expect, onTestFinished, test } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { startAdmin } from '../../../src/node/sidecar/admin.ts';
import type { SidecarStatus } from '../../../src/node/sidecar/status.ts';
import { fetchHttp } from './http.ts';

const status: SidecarStatus = {
  version: '1',
  identity: { spiffeId: 'spiffe://example.org/a', instanceId: 'i', notAfter: '2026-01-01T00:00:00.000Z', valid: true },
  policy: { revision: 3, hash: 'ab', publishedAt: '2026-01-01T00:00:00.000Z', connected: false, ageSeconds: 12 },
  plainText: { ports: [], calls: 0 },
  audit: {
    shippedThrough: 1,
    pending: 0,
    lastAckAt: null,
    log: null,
    problem: null,
    spool: { bytes: 4096, maxBytes: 8192 },
    degradedCalls: 0,
  },
  inbound: [],
  outbound: '127.0.0.1:15001',
};

async function start(current: () => SidecarStatus = () => status) {
  const asked: string[] = [];
  const admin = await startAdmin(
    { host: '127.0.0.1', port: 0 },
    {
      status: current,
      logger: silentLogger,
      token: async (audience) => {
        asked.push(audience);
        if (audience === 'away') throw new AppError('unavailable', 'The control plane is away.');
        return { token: 'a.b.c', spiffeId: 'spiffe://example.org/a', issuedAt: 0, expiresAt: Date.UTC(2026, 0, 1) };
      },
    },
  );
  onTestFinished(() => admin.drain(0));
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    fetchHttp({ port: admin.port, path, method, host: `127.0.0.1:${admin.port}`, headers });
  return { get, asked };
}

test('the application gets a token for one audience', async () => {
  const { get, asked } = await start();
  const answer = await get('/v1/jwt?audience=https%3A%2F%2Fexample.org');
  expect(answer.status).toBe(200);
  expect(answer.headers['cache-control']).toBe('no-store');
  expect(JSON.parse(answer.text)).toEqual({
    token: 'a.b.c',
    spiffeId: 'spiffe://example.org/a',
    expiresAt: '2026-01-01T00:00:00.000Z',
  });
  expect(asked).toEqual(['https://example.org']);
});

test.each<[string, Record<string, string>]>([
  ['from a page in a browser', { origin: 'https://evil.example' }],
  ['of a browser without an origin', { 'sec-fetch-site': 'none' }],
  ['through a proxy', { 'x-forwarded-for': '10.0.0.1' }],
  ['through a standard proxy', { forwarded: 'for=10.0.0.1' }],
  ['for a rebound name', { host: 'evil.example' }],
  ['for a name that begins like ours', { host: 'localhost.evil.example' }],
  ['for an address of the network', { host: '10.0.0.1:15000' }],
])('a request %s gets no token and no status', async (_what, headers) => {
  const { get, asked } = await start();
  for (const path of ['/v1/jwt?audience=a', '/v1/status']) {
    const answer = await get(path, headers);
    expect(answer.status).toBe(403);
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'forbidden' });
  }
  expect(asked).toEqual([]);
});

test('localhost and the IPv6 loopback are names of this machine', async () => {
  const { get } = await start();
  for (const host of ['localhost', 'localhost:15000', '[::1]:15000', '127.0.0.1']) {
    expect((await get('/v1/status', { host })).status).toBe(200);
  }
});

test('what is asked wrongly gets a problem', async () => {
  const { get, asked } = await start();
  expect((await get('/v1/jwt')).status).toBe(400);
  expect((await get('/v1/jwt?audience=a&audience=b')).status).toBe(400);
  expect((await get('/v1/jwt?audience=a', {}, 'POST')).status).toBe(400);
  expect((await get('/elsewhere')).status).toBe(404);
  expect(asked).toEqual([]);
  const away = await get('/v1/jwt?audience=away');
  expect(away.status).toBe(503);
  expect(away.headers['content-type']).toBe('application/problem+json');
  expect(JSON.parse(away.text)).toMatchObject({ code: 'unavailable', detail: 'The control plane is away.' });
});

test('status says how old the policy is', async () => {
  const { get } = await start();
  expect(JSON.parse((await get('/v1/status')).text)).toEqual(status);
});

test('probes from anywhere learn whether it is alive and ready', async () => {
  let current = status;
  const { get } = await start(() => current);
  const host = { host: '10.1.2.3:15000' };
  expect((await get('/livez', host)).status).toBe(200);
  expect((await get('/readyz', host)).status).toBe(200);
  current = { ...status, policy: null, identity: { ...status.identity, valid: false } };
  const answer = await get('/readyz', host);
  expect(answer.status).toBe(503);
  expect(JSON.parse(answer.text)).toEqual({ status: 'not ready', waitsFor: ['a valid certificate', 'a first policy'] });
  expect((await get('/livez', host)).status).toBe(200);
});
