import { createServer } from 'node:http';
import { connect } from 'node:tls';
import { expect, test } from 'vitest';
import { createTestAuthority } from '../../support/pki.ts';
import { dialTls, fetchHttp, rawExchange } from './http.ts';
import { allow, ORDERS, serve, service, startPair, TestSidecar, WEB } from './mesh.ts';

const minute = 60_000;
const get = 'GET / HTTP/1.1\r\nHost: orders.shop.mesh\r\nConnection: close\r\n\r\n';

/** What the application's port would have answered, or nothing when the handshake was refused. */
async function ask(port: number, pem: { cert: string; key: string } | Record<string, never>): Promise<string> {
  try {
    return await rawExchange(await dialTls(port, pem), get);
  } catch {
    return '';
  }
}

test('a caller must have a certificate of the same trust domain, whoever else vouches for it', async () => {
  const { inbound, orders, authority } = await startPair(createServer((_req, res) => res.end('in')));
  const foreign = createTestAuthority({ trustDomain: 'example.org' });
  const other = createTestAuthority({ trustDomain: 'elsewhere.org' });
  const now = Date.now();
  const refused = [
    {},
    foreign.issue(WEB).pem,
    other.issue('spiffe://elsewhere.org/ns/shop/sa/web').pem,
    authority.issue(WEB, { notBefore: now - 10 * minute, notAfter: now - minute }).pem,
    authority.issue(WEB, { notBefore: now + 10 * minute, notAfter: now + 20 * minute }).pem,
  ];
  for (const pem of refused) expect(await ask(inbound.port, pem)).toBe('');
  expect(orders.recorder.events).toEqual([]);
  expect(await ask(inbound.port, authority.issue(WEB).pem)).toMatch(/^HTTP\/1\.1 200 /);
});

test('a bundle that holds a root of another trust domain does not let its workloads in', async () => {
  const other = createTestAuthority({ trustDomain: 'elsewhere.org' });
  const { inbound, orders, authority } = await startPair(createServer((_req, res) => res.end('in')));
  orders.bundle.set({ ...authority.bundle, roots: [...authority.bundle.roots, ...other.bundle.roots] });
  expect(await ask(inbound.port, other.issue('spiffe://elsewhere.org/ns/shop/sa/web').pem)).toBe('');
  expect(await ask(inbound.port, authority.issue(WEB).pem)).toMatch(/^HTTP\/1\.1 200 /);
});

test('CVE-2022-21654: nothing below TLS 1.3, and no resumption', async () => {
  const { inbound, authority } = await startPair(createServer((_req, res) => res.end('in')));
  const { pem } = authority.issue(WEB);
  await expect(dialTls(inbound.port, { ...pem, maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version/);
  const first = await dialTls(inbound.port, pem);
  let session: Buffer | undefined;
  first.on('session', (value) => {
    session = value;
  });
  await rawExchange(first, get);
  expect(session).toBeDefined();
  const again = connect({
    port: inbound.port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ...pem,
    ...(session === undefined ? {} : { session }),
  });
  await new Promise((resolve) => again.once('secureConnect', resolve));
  expect(again.isSessionReused()).toBe(false);
  again.destroy();
});

test('only protocols that this port serves are negotiated', async () => {
  const { inbound, authority } = await startPair(createServer((_req, res) => res.end('in')));
  await expect(dialTls(inbound.port, { ...authority.issue(WEB).pem, alpn: ['writ-tcp'] })).rejects.toThrow(/alert/);
});

test('outbound speaks only to exactly the identity that the control plane named', async () => {
  const authority = createTestAuthority();
  let reached = 0;
  const application = await serve(
    createServer((_req, res) => {
      reached += 1;
      res.end();
    }),
  );
  const impostor = new TestSidecar({ authority, id: 'spiffe://example.org/ns/shop/sa/payments', policies: [allow()] });
  const inbound = await impostor.inbound({ application });
  const web = new TestSidecar({ authority, id: WEB, services: [service('orders', [{ port: inbound.port }])] });
  const outbound = await web.outbound();
  const answer = await fetchHttp({ port: outbound.port });
  expect(answer.status).toBe(502);
  expect(JSON.parse(answer.text)).toMatchObject({
    code: 'peer-refused',
    detail: `The endpoint is spiffe://example.org/ns/shop/sa/payments, and ${ORDERS} was expected.`,
  });
  expect(reached).toBe(0);
  expect(impostor.recorder.events).toEqual([]);
});

test('outbound refuses an endpoint whose authority is not in the bundle', async () => {
  const application = await serve(createServer((_req, res) => res.end()));
  const impostor = new TestSidecar({ authority: createTestAuthority(), id: ORDERS, policies: [allow()] });
  const inbound = await impostor.inbound({ application });
  const web = new TestSidecar({
    authority: createTestAuthority(),
    id: WEB,
    services: [service('orders', [{ port: inbound.port }])],
  });
  const answer = await fetchHttp({ port: (await web.outbound()).port });
  expect(answer.status).toBe(502);
  expect(impostor.recorder.events).toEqual([]);
});

test('an endpoint that cannot be reached is passed over for the next one', async () => {
  const authority = createTestAuthority();
  const application = await serve(createServer((req, res) => req.pipe(res)));
  const orders = new TestSidecar({ authority, id: ORDERS, policies: [allow()] });
  const inbound = await orders.inbound({ application });
  const gone = await orders.inbound({ application });
  await gone.drain(0);
  const web = new TestSidecar({
    authority,
    id: WEB,
    services: [service('orders', [{ port: gone.port }, { port: inbound.port }])],
  });
  const outbound = await web.outbound();
  for (let i = 0; i < 4; i++) {
    const answer = await fetchHttp({ port: outbound.port, method: 'POST', body: 'hello' });
    expect([answer.status, answer.text]).toEqual([200, 'hello']);
  }
});

test('a root that is withdrawn takes the connections with it that it let in', async () => {
  const { outbound, orders, inbound, authority } = await startPair(createServer((_req, res) => res.end('in')));
  const { pem } = authority.issue(WEB);
  const socket = await dialTls(inbound.port, pem);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => undefined);
  expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
  const next = createTestAuthority();
  orders.bundle.set({ ...authority.bundle, roots: [...authority.bundle.roots, ...next.bundle.roots], sequence: 2 });
  expect((await fetchHttp({ port: outbound.port })).status).toBe(200);
  expect(socket.destroyed).toBe(false);
  orders.bundle.set({ ...next.bundle, sequence: 3 });
  await closed;
  expect((await fetchHttp({ port: outbound.port })).status).toBe(502);
  expect(orders.recorder.decisions).toHaveLength(2);
});
