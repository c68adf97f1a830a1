import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { beforeAll, expect, test } from 'vitest';
import { certificatePem } from '../../../src/core/identity/bundle.ts';
import { signJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import type { Policy } from '../../../src/core/policy/model.ts';
import type { TestAuthority } from '../../support/pki.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { dialTls, fetchHttp, keepAliveAgent, rawExchange } from './http.ts';
import { allow, ORDERS, policy, serve, service, TestSidecar, WEB } from './mesh.ts';

const get = 'GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: close\r\n\r\n';
const PARTNER = 'spiffe://partner.example/ns/x/sa/y';

let ours: TestAuthority;
let partner: TestAuthority;
/** Has our name, and a root of its own: what anybody can make. */
let impostor: TestAuthority;

beforeAll(() => {
  ours = createTestAuthority();
  partner = createTestAuthority({ trustDomain: 'partner.example' });
  impostor = createTestAuthority({ trustDomain: 'example.org' });
});

/** What the application's port would have answered, or nothing when the caller was refused. */
async function ask(port: number, pem: { cert: string; key: string }): Promise<string> {
  try {
    return await rawExchange(await dialTls(port, pem), get);
  } catch {
    return '';
  }
}

function orders(): TestSidecar {
  const sidecar = new TestSidecar({ authority: ours, id: ORDERS });
  sidecar.federated = [partner.bundle];
  sidecar.push([allow('partner.example/ns/x/sa/y'), { ...allow(), name: 'own' }]);
  return sidecar;
}

async function ordersWithInbound() {
  const sidecar = orders();
  const inbound = await sidecar.inbound({ application: await serve(createServer((_req, res) => res.end('in'))) });
  return { sidecar, inbound };
}

test('a caller of a federated trust domain is let in under its own roots, and policies name it', async () => {
  const { sidecar, inbound } = await ordersWithInbound();
  expect(await ask(inbound.port, partner.issue(PARTNER).pem)).toMatch(/^HTTP\/1\.1 200 /);
  expect(sidecar.recorder.decisions.at(-1)).toMatchObject({ source: PARTNER, decision: 'allow' });
  expect(await ask(inbound.port, partner.issue('spiffe://partner.example/ns/x/sa/z').pem)).toMatch(/^HTTP\/1\.1 403 /);
  expect(await ask(inbound.port, ours.issue(WEB).pem)).toMatch(/^HTTP\/1\.1 200 /);
});

test('spiffe 48: what a federated authority issues under our name is refused on the way in', async () => {
  const { sidecar, inbound } = await ordersWithInbound();
  // The roots of the hostile partner are trusted, for partner.example.
  sidecar.federated = [{ ...impostor.bundle, trustDomain: 'partner.example' }];
  sidecar.push([allow(), { ...allow('partner.example/ns/x/sa/y'), name: 'foreign' }]);
  expect(await ask(inbound.port, impostor.issue(WEB).pem)).toBe('');
  expect(sidecar.recorder.events).toEqual([]);
  expect(await ask(inbound.port, ours.issue(WEB).pem)).toMatch(/^HTTP\/1\.1 200 /);
});

test('spiffe 42: our own authority cannot vouch for an identity of the partner, nor one partner for another', async () => {
  const { sidecar, inbound } = await ordersWithInbound();
  const third = createTestAuthority({ trustDomain: 'third.example' });
  const forgedThird = createTestAuthority({ trustDomain: 'third.example' });
  sidecar.federated = [{ ...forgedThird.bundle, trustDomain: 'partner.example' }, third.bundle];
  sidecar.push([allow('third.example/ns/x/sa/y')]);
  expect(await ask(inbound.port, forgedThird.issue('spiffe://third.example/ns/x/sa/y').pem)).toBe('');
  expect(await ask(inbound.port, third.issue('spiffe://third.example/ns/x/sa/y').pem)).toMatch(/^HTTP\/1\.1 200 /);
});

test('a caller whose leaf comes with the intermediates of somebody else is refused, whoever they are', async () => {
  const { sidecar, inbound } = await ordersWithInbound();
  const own = ours.issue(WEB);
  const foreign = partner.issue(PARTNER);
  const pem = (...chain: (Buffer | undefined)[]) => chain.map((der) => certificatePem(der ?? Buffer.alloc(0))).join('');
  const key = own.pem.key;
  const [ownLeaf, ownIntermediate] = own.chain;
  const [foreignLeaf, foreignIntermediate] = foreign.chain;
  expect(await ask(inbound.port, { key, cert: pem(ownLeaf, foreignIntermediate) })).toBe('');
  expect(await ask(inbound.port, { key, cert: pem(ownLeaf, foreignIntermediate, ownIntermediate) })).toBe('');
  expect(await ask(inbound.port, { key, cert: pem(ownLeaf) })).toBe('');
  expect(await ask(inbound.port, { key, cert: pem(ownLeaf, ownIntermediate, foreignLeaf) })).toBe('');
  expect(await ask(inbound.port, { key: foreign.pem.key, cert: pem(foreignLeaf, ownIntermediate) })).toBe('');
  expect(sidecar.recorder.events).toEqual([]);
  expect(await ask(inbound.port, { key, cert: pem(ownLeaf, ownIntermediate) })).toMatch(/^HTTP\/1\.1 200 /);
  expect(await ask(inbound.port, { key, cert: pem(ownLeaf, ownIntermediate, ...ours.bundle.roots) })).toMatch(/200/);
});

test('a caller without a certificate, or with the key of another, gets no byte through', async () => {
  const { sidecar, inbound } = await ordersWithInbound();
  expect(await ask(inbound.port, {} as never)).toBe('');
  expect(await ask(inbound.port, { cert: partner.issue(PARTNER).pem.cert, key: ours.issue(WEB).pem.key })).toBe('');
  expect(sidecar.recorder.events).toEqual([]);
});

test('when a federation ends, new calls and the next call on an open connection are refused at once', async () => {
  const { sidecar, inbound } = await ordersWithInbound();
  const { pem } = partner.issue(PARTNER);
  const open = await dialTls(inbound.port, pem);
  const own = await dialTls(inbound.port, ours.issue(WEB).pem);
  const keepAlive = 'GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\n\r\n';
  for (const socket of [open, own]) {
    socket.write(keepAlive);
    const [head] = (await once(socket, 'data')) as [Buffer];
    expect(head.toString('latin1')).toMatch(/^HTTP\/1\.1 200 /);
  }

  const closed = once(open, 'close');
  open.on('error', () => undefined);
  sidecar.federated = [];
  sidecar.push([allow('partner.example/ns/x/sa/y'), { ...allow(), name: 'own' }]);
  open.write(keepAlive);
  expect(await ask(inbound.port, pem)).toBe('');
  await closed;
  expect(sidecar.recorder.decisions.filter((decision) => decision.source === PARTNER)).toHaveLength(1);
  // Connections of our own trust domain are not touched.
  expect(await rawExchange(own, get)).toMatch(/HTTP\/1\.1 200 /);
});

test('when a partner withdraws one of its roots, callers below the other one stay', async () => {
  const { sidecar, inbound } = await ordersWithInbound();
  const next = createTestAuthority({ trustDomain: 'partner.example' });
  const both = { ...partner.bundle, roots: [...partner.bundle.roots, ...next.bundle.roots] };
  sidecar.federated = [both];
  sidecar.push([allow('partner.example/ns/x/sa/y')]);
  const agent = (authority: TestAuthority) => dialTls(inbound.port, authority.issue(PARTNER).pem);
  const [old, fresh] = [await agent(partner), await agent(next)];
  const oldClosed = once(old, 'close');
  sidecar.federated = [{ ...both, roots: next.bundle.roots, sequence: 2 }];
  sidecar.push([allow('partner.example/ns/x/sa/y')]);
  await oldClosed;
  expect(await rawExchange(fresh, get)).toMatch(/^HTTP\/1\.1 200 /);
});

test('calls go out to a service of a federated trust domain under its full name, verified with its own roots', async () => {
  const theirs = new TestSidecar({ authority: partner, id: 'spiffe://partner.example/ns/shop/sa/orders' });
  theirs.federated = [ours.bundle];
  theirs.push([allow()]);
  const application = await serve(createServer((_req, res) => res.end('theirs')));
  const inbound = await theirs.inbound({ application });
  const web = new TestSidecar({ authority: ours, id: WEB });
  web.federated = [partner.bundle];
  const remote = service('orders', [{ port: inbound.port }], 'spiffe://partner.example/ns/shop/sa/orders');
  web.push([], [remote]);
  const outbound = await web.outbound();
  const host = 'orders.shop.partner.example.mesh';
  const agent = keepAliveAgent();
  expect(await fetchHttp({ port: outbound.port, host, agent })).toMatchObject({ status: 200, text: 'theirs' });
  // Our own services and theirs are told apart by name.
  expect((await fetchHttp({ port: outbound.port, host: 'orders.shop.mesh', agent })).status).toBe(404);
  expect((await fetchHttp({ port: outbound.port, host: 'orders.shop.other.example.mesh', agent })).status).toBe(404);

  web.federated = [];
  web.push([], [remote]);
  const refused = await fetchHttp({ port: outbound.port, host, agent });
  expect(refused.status).toBe(502);
  expect(refused.text).toMatch(/trust domain partner\.example, which is not trusted here/);
});

test('spiffe 48: what a federated authority issues under our name is refused on the way out', async () => {
  const web = new TestSidecar({ authority: ours, id: WEB });
  web.federated = [{ ...impostor.bundle, trustDomain: 'partner.example' }];
  const forged = impostor.issue(ORDERS).pem;
  let bytes = 0;
  const endpoint = await serve(
    createTlsServer(
      { ...forged, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.3', ALPNProtocols: ['http/1.1'] },
      (socket) => {
        socket.on('data', (data) => {
          bytes += data.length;
        });
        socket.on('error', () => undefined);
      },
    ),
  );
  web.push([], [service('orders', [{ port: endpoint.port }])]);
  const outbound = await web.outbound();
  expect((await fetchHttp({ port: outbound.port, host: 'orders.shop.mesh' })).status).toBe(502);
  expect(bytes).toBe(0);
});

test('TCP calls of a federated trust domain end with the federation', async () => {
  const sidecar = orders();
  const application = await serve(createTcpServer((socket) => socket.pipe(socket)));
  const inbound = await sidecar.inbound({ protocol: 'tcp', application });
  const socket = await dialTls(inbound.port, { ...partner.issue(PARTNER).pem, alpn: ['writ-tcp'] });
  socket.write('echo');
  const [echo] = (await once(socket, 'data')) as [Buffer];
  expect(echo.toString()).toBe('echo');
  const closed = once(socket, 'close');
  socket.on('error', () => undefined);
  sidecar.federated = [];
  sidecar.push([allow('partner.example/ns/x/sa/y')]);
  await closed;
});

test('spiffe 41: a JWT-SVID is verified with the bundle of the trust domain that it names; of others it is not ours to judge', async () => {
  const { sidecar, inbound } = await ordersWithInbound();
  const token = async (authority: TestAuthority, sub: string) => {
    const order = { id: parseSpiffeId(sub), audience: [ORDERS], now: Date.now(), ttlSeconds: 300 };
    return (await signJwtSvid({ ...order, ...authority.jwt })).token;
  };
  const call = async (jwt: string) => {
    const socket = await dialTls(inbound.port, ours.issue(WEB).pem);
    const answer = await rawExchange(socket, get.replace('\r\n\r\n', `\r\nAuthorization: Bearer ${jwt}\r\n\r\n`));
    return { status: Number(answer.split(' ')[1]), subject: sidecar.recorder.decisions.at(-1)?.tokenSubject };
  };
  const good = await token(partner, PARTNER);
  expect(await call(good)).toEqual({ status: 200, subject: PARTNER });
  const forged = createTestAuthority({ trustDomain: 'partner.example' });
  expect(await call(await token(forged, PARTNER))).toEqual({ status: 401, subject: '' });
  // Our own key cannot speak for the partner, nor theirs for us.
  expect((await call(await token(ours, PARTNER))).status).toBe(401);
  expect((await call(await token(partner, WEB))).status).toBe(401);
  sidecar.federated = [];
  sidecar.push([{ ...allow(), name: 'own' }]);
  expect(await call(good)).toEqual({ status: 200, subject: '' });
});

test('a token of a federated trust domain says whose it is, and nothing of our users: not who issued it, and no other claim', async () => {
  const { sidecar, inbound } = await ordersWithInbound();
  const when = (key: string, value: string): Policy =>
    policy('users', 'ALLOW', [{ from: [], to: [], when: [{ key, values: [value], notValues: [] }] }]);
  const order = { id: parseSpiffeId(PARTNER), audience: [ORDERS], now: Date.now(), ttlSeconds: 300 };
  const more = { issuer: 'https://accounts.example', claims: { groups: ['admin'] } };
  const jwt = (await signJwtSvid({ ...order, ...more, ...partner.jwt })).token;
  const call = async (one: Policy) => {
    sidecar.push([one]);
    const socket = await dialTls(inbound.port, ours.issue(WEB).pem);
    const answer = await rawExchange(socket, get.replace('\r\n\r\n', `\r\nAuthorization: Bearer ${jwt}\r\n\r\n`));
    return Number(answer.split(' ')[1]);
  };
  expect(await call(when('request.auth.principal', 'https://accounts.example/*'))).toBe(403);
  expect(await call(when('request.auth.claims[iss]', 'https://accounts.example'))).toBe(403);
  expect(await call(when('request.auth.claims[groups]', 'admin'))).toBe(403);
  expect(await call(when('request.auth.principal', `partner.example/${PARTNER}`))).toBe(200);
  expect(await call(when('request.auth.audiences', ORDERS))).toBe(200);
});
