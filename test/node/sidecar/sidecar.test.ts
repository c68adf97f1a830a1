import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { openBatch } from '../../../src/core/audit/batch.ts';
import { decodeEvent } from '../../../src/core/audit/canonical.ts';
import type { AuditEvent } from '../../../src/core/audit/event.ts';
import { verifyJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import type { SidecarConfig } from '../../../src/node/sidecar/config.ts';
import type { RunningSidecar } from '../../../src/node/sidecar/sidecar.ts';
import { startSidecar } from '../../../src/node/sidecar/sidecar.ts';
import { expectAppError } from '../../support/errors.ts';
import { tempDirectory } from '../../support/temp.ts';
import { ORDERS, TestControlPlane, WEB } from '../world.ts';
import { fetchHttp } from './http.ts';
import { allow, serve, service } from './mesh.ts';

/** Whole sidecars: enrolled, with pushed policy, spool and shipping, against the real gRPC face and a real ledger. */

interface Options {
  readonly application?: { readonly host: string; readonly port: number };
  readonly directory?: string;
  readonly token?: string;
}

async function start(
  plane: TestControlPlane,
  o: Options = {},
): Promise<RunningSidecar & { readonly directory: string }> {
  const directory = o.directory ?? (await tempDirectory());
  const joinTokenFile = join(directory, 'token');
  if (o.token !== undefined) await writeFile(joinTokenFile, o.token, { mode: 0o600 });
  const loopback = { host: '127.0.0.1', port: 0 };
  const config: SidecarConfig = {
    server: plane.address,
    trust: { fingerprint: plane.fingerprint },
    stateDirectory: join(directory, 'state'),
    joinTokenFile,
    inbound: o.application === undefined ? [] : [{ ...loopback, protocol: 'http', application: o.application }],
    outbound: loopback,
    admin: loopback,
  };
  const sidecar = await startSidecar(config, {
    clock: systemClock,
    logger: silentLogger,
    version: 'test',
    limits: { drainMs: 500 },
  });
  onTestFinished(() => sidecar.close());
  return Object.assign(sidecar, { directory });
}

async function mesh() {
  const plane = await new TestControlPlane().start();
  const application = await serve(
    createServer((req, res) => res.end(`hello ${req.headers['x-forwarded-client-cert']}`)),
  );
  const orders = await start(plane, { application, token: plane.token(ORDERS) });
  const web = await start(plane, { token: plane.token(WEB) });
  plane.services.push(service('orders', [{ port: orders.inbound[0]?.port ?? 0 }]));
  const revision = plane.push([allow()]);
  await plane.hear({ spiffeId: ORDERS, kind: 'ack', revision });
  await plane.hear({ spiffeId: WEB, kind: 'ack', revision });
  return { plane, orders, web, application };
}

/** Everything that the ledger has, in order. */
async function recorded(plane: TestControlPlane): Promise<AuditEvent[]> {
  const events: AuditEvent[] = [];
  const { ledger } = plane;
  if (ledger === undefined) return events;
  const size = ledger.size.current;
  if (size === 0) return events;
  for await (const logged of ledger.read(0)) {
    events.push(...openBatch(logged.batch).map((bytes) => decodeEvent(bytes)));
    if (logged.leaf + 1 >= size) break;
  }
  return events;
}

test('a call from one application to another is authenticated, allowed by pushed policy, and in the ledger', async () => {
  const { plane, web } = await mesh();
  const answer = await fetchHttp({ port: web.outbound.port, path: '/x' });
  expect([answer.status, answer.text]).toEqual([200, expect.stringContaining(`URI=${WEB}`)]);
  const revision = plane.push([]);
  await plane.hear({ spiffeId: ORDERS, kind: 'ack', revision });
  const refused = await fetchHttp({ port: web.outbound.port, path: '/y' });
  expect([refused.status, refused.headers['x-writ-rule']]).toEqual([403, 'default-deny']);
  await expect
    .poll(async () => (await recorded(plane)).filter((event) => event.kind === 'completion').length, { timeout: 5_000 })
    .toBe(2);
  const decisions = (await recorded(plane)).filter((event) => event.kind === 'decision');
  expect(decisions).toMatchObject([
    { source: WEB, destination: ORDERS, path: '/x', decision: 'allow', rule: 'shop/allow@7#0' },
    { source: WEB, destination: ORDERS, path: '/y', decision: 'deny', rule: 'default-deny' },
  ]);
});

test('the application gets a JWT-SVID from its sidecar, cached, and the called sidecar accepts it', async () => {
  const { plane, web } = await mesh();
  const get = () => fetchHttp({ port: web.admin.port, host: '127.0.0.1', path: '/v1/jwt?audience=orders.shop.mesh' });
  const { token, spiffeId } = JSON.parse((await get()).text);
  expect(spiffeId).toBe(WEB);
  const { bundle } = plane.authority;
  const verified = await verifyJwtSvid(token, { audiences: ['orders.shop.mesh'], bundle, now: Date.now() });
  expect(verified.id.uri).toBe(WEB);
  expect(JSON.parse((await get()).text).token).toBe(token);
  const ask = (bearer: string) =>
    fetchHttp({ port: web.outbound.port, headers: { authorization: `Bearer ${bearer}` } });
  expect((await ask(token)).status).toBe(200);
  const other = await fetchHttp({ port: web.admin.port, host: '127.0.0.1', path: '/v1/jwt?audience=elsewhere' });
  expect((await ask(JSON.parse(other.text).token)).status).toBe(401);
});

test('with the control plane gone calls go on, tokens are handed out again, and status says how old the policy is', async () => {
  const { plane, web, orders } = await mesh();
  await fetchHttp({ port: web.admin.port, host: '127.0.0.1', path: '/v1/jwt?audience=a' });
  await plane.stop();
  await expect.poll(() => orders.status().policy?.connected).toBe(false);
  expect((await fetchHttp({ port: web.outbound.port })).status).toBe(200);
  expect((await fetchHttp({ port: web.admin.port, host: '127.0.0.1', path: '/v1/jwt?audience=a' })).status).toBe(200);
  const away = await fetchHttp({ port: web.admin.port, host: '127.0.0.1', path: '/v1/jwt?audience=b' });
  expect(away.status).toBeGreaterThanOrEqual(503);
  expect(orders.status().policy).toMatchObject({ connected: false, ageSeconds: expect.any(Number) });

  await plane.start();
  await expect.poll(() => orders.status().policy?.connected, { timeout: 10_000 }).toBe(true);
  await expect
    .poll(async () => (await recorded(plane)).filter((event) => event.kind === 'decision').length, { timeout: 10_000 })
    .toBe(1);
});

test('a sidecar restarted without a control plane serves with what it has', async () => {
  const { plane, web, orders, application } = await mesh();
  const { directory } = orders;
  await orders.close();
  await plane.stop();
  const again = await start(plane, { application, directory });
  expect(again.status().policy).toMatchObject({ connected: false });
  expect(again.status().identity.valid).toBe(true);
  expect(web.status().policy).not.toBeNull();
});

test('stopping says goodbye, closes every port, and may be asked for twice', async () => {
  const { plane, orders } = await mesh();
  const port = orders.inbound[0]?.port ?? 0;
  await Promise.all([orders.close(), orders.close()]);
  await orders.done;
  await plane.hear({ spiffeId: ORDERS, kind: 'goodbye' });
  const socket = connect({ host: '127.0.0.1', port });
  await expect(new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))).rejects.toThrow(
    /ECONNREFUSED/,
  );
});

test('no port opens before there is an identity, and a start that fails leaves nothing open', async () => {
  const plane = await new TestControlPlane().start();
  const probe = createServer();
  const { port } = await serve(probe);
  await expectAppError(start(plane, { application: { host: '127.0.0.1', port } }), 'unauthenticated', /join token/);
  const directory = await tempDirectory();
  const config: SidecarConfig = {
    server: plane.address,
    trust: { fingerprint: plane.fingerprint },
    stateDirectory: join(directory, 'state'),
    joinTokenFile: join(directory, 'token'),
    inbound: [],
    outbound: { host: '127.0.0.1', port },
    admin: { host: '127.0.0.1', port: 0 },
  };
  await writeFile(join(directory, 'token'), plane.token(WEB), { mode: 0o600 });
  const deps = { clock: systemClock, logger: silentLogger, version: 'test' };
  await expectAppError(
    startSidecar(config, deps),
    'unavailable',
    `Cannot listen on 127.0.0.1:${port}: something else listens there.`,
  );
  // The spool was given free again.
  const sidecar = await startSidecar({ ...config, outbound: { host: '127.0.0.1', port: 0 } }, deps);
  await sidecar.close();
});

test('certificates renewed while calls go on drop none of them', async () => {
  const plane = new TestControlPlane();
  plane.ttlMs = 2_500;
  await plane.start();
  const application = await serve(createServer((_req, res) => res.end('ok')));
  const orders = await start(plane, { application, token: plane.token(ORDERS) });
  const web = await start(plane, { token: plane.token(WEB) });
  plane.services.push(service('orders', [{ port: orders.inbound[0]?.port ?? 0 }]));
  const revision = plane.push([allow()]);
  await plane.hear({ spiffeId: WEB, kind: 'ack', revision });
  await plane.hear({ spiffeId: ORDERS, kind: 'ack', revision });
  const statuses = new Set<number>();
  while (plane.renewals.length < 4) statuses.add((await fetchHttp({ port: web.outbound.port })).status);
  expect([...statuses]).toEqual([200]);
});
