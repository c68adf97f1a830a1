import { X509Certificate } from 'node:crypto';
import { connect as connectTcp } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { connect as connectTls } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { fingerprint } from '../../../src/core/identity/bundle.ts';
import { verifyPeer } from '../../../src/core/identity/chain.ts';
import { startGrpcServer } from '../../../src/edge/grpc/server.ts';
import type { IdentityPort } from '../../../src/edge/grpc/services.ts';
import type { HealthCheckResponse__Output } from '../../../src/wire/gen/grpc/health/v1/HealthCheckResponse.ts';
import type { SignJwtResponse__Output } from '../../../src/wire/gen/writ/v1/SignJwtResponse.ts';
import { clients } from '../../../src/wire/loader.ts';
import { expectAppError } from '../../support/errors.ts';
import type { IssuedSvid } from '../../support/pki.ts';
import { createTestAuthority } from '../../support/pki.ts';
import type { Bench } from './harness.ts';
import { absentServices, ClientStream, ORDERS, serverIdentity, startBench, unary, WEB } from './harness.ts';

const minute = 60_000;
const hour = 60 * minute;

/** Answers every token request with the caller's own name. */
const echo = {
  identity: {
    ...absentServices.identity,
    signJwt: async (caller, { audience }) => ({
      token: `${caller.id.uri} ${caller.instanceId} ${audience.join()}`,
      spiffeId: caller.id.uri,
      issuedAt: 0,
      expiresAt: 1000,
    }),
  },
} satisfies { readonly identity: IdentityPort };

function signJwt(bench: Bench, svid?: IssuedSvid): Promise<SignJwtResponse__Output> {
  const client = bench.client(clients.Identity, svid);
  return unary((callback) => client.SignJwt({ audience: ['a'] }, callback));
}

function check(bench: Bench, service = ''): Promise<HealthCheckResponse__Output> {
  const client = bench.client(clients.Health);
  return unary((callback) => client.Check({ service }, callback));
}

describe('who may call', () => {
  it('a workload with a valid certificate is known by its SPIFFE ID and instance', async () => {
    const bench = await startBench(echo);
    const answer = await signJwt(bench, bench.svid(ORDERS, { instanceId: 'i-1' }));
    expect(answer.token).toBe(`${ORDERS} i-1 a`);
    expect(answer.spiffeId).toBe(ORDERS);
  });

  it('nobody without a client certificate, but for health', async () => {
    const bench = await startBench(echo);
    await expectAppError(signJwt(bench), 'unauthenticated', /needs a client certificate/);
    const policy = new ClientStream(bench.client(clients.Policy).Watch());
    await expectAppError(policy.end(), 'unauthenticated');
    const audit = new ClientStream(bench.client(clients.Audit).Ship());
    await expectAppError(audit.end(), 'unauthenticated');
    expect(await check(bench)).toEqual({ status: 'SERVING' });
  });

  it('nobody from another trust domain', async () => {
    const bench = await startBench(echo);
    const foreign = createTestAuthority({ trustDomain: 'evil.example' });
    await expectAppError(signJwt(bench, foreign.issue('spiffe://evil.example/ns/shop/sa/web')), 'unauthenticated');
  });

  it('nobody whose authority only claims to be of this trust domain', async () => {
    const bench = await startBench(echo);
    await expectAppError(signJwt(bench, createTestAuthority().issue(WEB)), 'unauthenticated');
  });

  it('nobody whose certificate has expired, or is not valid yet', async () => {
    const bench = await startBench(echo);
    const now = Date.now();
    const expired = bench.svid(WEB, { notBefore: now - 30 * minute, notAfter: now - minute });
    await expectAppError(signJwt(bench, expired), 'unauthenticated');
    const early = bench.svid(WEB, { notBefore: now + minute, notAfter: now + hour });
    await expectAppError(signJwt(bench, early), 'unauthenticated');
  });

  it('nobody whose certificate expires while the connection lasts', async () => {
    const bench = await startBench(echo);
    const client = bench.client(clients.Identity, bench.svid());
    const call = () => unary((callback) => client.SignJwt({ audience: ['a'] }, callback));
    await call();
    await bench.clock.advance(hour - minute);
    await call();
    await bench.clock.advance(2 * minute);
    await expectAppError(call(), 'unauthenticated', 'The client certificate has expired. Renew it.');
  });

  it('not the control plane itself, nor anybody else under the reserved path', async () => {
    const bench = await startBench(echo);
    const reserved = bench.svid('spiffe://example.org/writ/control-plane');
    await expectAppError(signJwt(bench, reserved), 'forbidden', /is neither a workload nor an agent/);
  });
});

describe('the server’s certificate', () => {
  it('comes with the root at the end, so that its fingerprint is enough to verify the rest', async () => {
    const bench = await startBench();
    const chain = await servedChain(bench.server.port);
    expect(chain).toHaveLength(3);
    expect(fingerprint(chain.at(-1) ?? Buffer.alloc(0))).toBe(fingerprint(bench.authority.root.certificate));
    expect(verifyPeer(chain, bench.authority.bundle, { now: Date.now() }).id.uri).toBe(
      'spiffe://example.org/writ/control-plane',
    );
  });

  it('has only the root that it hangs from, when the bundle has several', async () => {
    const bench = await startBench();
    const other = createTestAuthority();
    const { bundle } = bench.authority;
    bench.bundle.set({ ...bundle, roots: [other.root.certificate, ...bundle.roots], sequence: 2 });
    const chain = await servedChain(bench.server.port);
    expect(chain).toHaveLength(3);
    expect(verifyPeer(chain, bundle, { now: Date.now() }).id.path).toBe('/writ/control-plane');
  });

  it('is swapped without ending what is connected', async () => {
    const bench = await startBench(echo);
    const client = bench.client(clients.Identity, bench.svid());
    const call = () => unary((callback) => client.SignJwt({ audience: ['a'] }, callback));
    await call();
    const before = await servedChain(bench.server.port);
    bench.identity.set(serverIdentity(bench.authority));
    const after = await servedChain(bench.server.port);
    expect(after[0]).not.toEqual(before[0]);
    await call();
    await expect(signJwt(bench, bench.svid())).resolves.toBeDefined();
  });

  it('is only shown to TLS 1.3, also after a swap', async () => {
    const bench = await startBench();
    await expect(handshake(bench.server.port, { maxVersion: 'TLSv1.2' })).rejects.toThrow(/version|alert/i);
    bench.identity.set(serverIdentity(bench.authority));
    await expect(handshake(bench.server.port, { maxVersion: 'TLSv1.2' })).rejects.toThrow(/version|alert/i);
    const socket = await handshake(bench.server.port, {});
    expect(socket.getProtocol()).toBe('TLSv1.3');
  });
});

describe('a change of the bundle', () => {
  it('lets callers of a new root in, and cuts those of a tainted one off when it is removed', async () => {
    const next = createTestAuthority();
    const bench = await startBench(echo, { limits: { stopGraceMs: 50 } });
    const { bundle } = bench.authority;
    await expectAppError(signJwt(bench, next.issue(WEB)), 'unauthenticated');

    bench.bundle.set({ ...bundle, roots: [...bundle.roots, ...next.bundle.roots], sequence: 2 });
    await expect(signJwt(bench, next.issue(WEB))).resolves.toBeDefined();
    const old = bench.client(clients.Identity, bench.svid());
    const call = () => unary((callback) => old.SignJwt({ audience: ['a'] }, callback));
    await call();

    const roots = [...bundle.roots, ...next.bundle.roots];
    bench.bundle.set({ ...bundle, roots, sequence: 3, tainted: bundle.roots.map(fingerprint) });
    await call();
    bench.bundle.set({ ...bundle, roots: next.bundle.roots, sequence: 4 });
    await expectAppError(eventually(call), 'unauthenticated');
  });
});

describe('bad input', () => {
  it('bytes that are no TLS end that connection and nothing else', async () => {
    const bench = await startBench(echo);
    const socket = connectTcp(bench.server.port, '127.0.0.1');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await closed;
    await expect(signJwt(bench, bench.svid())).resolves.toBeDefined();
  });

  it('a TLS handshake that is never finished is cut', async () => {
    const bench = await startBench(echo, { limits: { handshakeTimeoutMs: 100 } });
    const socket = connectTcp(bench.server.port, '127.0.0.1');
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('close', resolve));
  });

  it('TLS without HTTP/2 behind it harms nobody else', async () => {
    const bench = await startBench(echo);
    const socket = await handshake(bench.server.port, { ALPNProtocols: ['h2'] });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(Buffer.alloc(1000, 0xff));
    await closed;
    await expect(signJwt(bench, bench.svid())).resolves.toBeDefined();
  });

  it('a message of 5 MB is too large, and the server goes on', async () => {
    const bench = await startBench(echo);
    const client = bench.client(clients.Identity, bench.svid());
    const huge = unary((callback) => client.Renew({ csr: Buffer.alloc(5 * 1024 * 1024) }, callback));
    await expectAppError(huge, 'too-large');
    await expect(signJwt(bench, bench.svid())).resolves.toBeDefined();
  });

  it('bytes that are no message of the method are invalid, on unary calls and on streams', async () => {
    const bench = await startBench(echo);
    const garbage = Buffer.from('0aff', 'hex');
    const client = bench.client(clients.Identity, bench.svid());
    await expectAppError(
      unary((callback) => client.SignJwt(garbage as object, callback)),
      'invalid',
      'The message to /writ.v1.Identity/SignJwt is not of its protobuf type.',
    );
    const stream = new ClientStream(bench.client(clients.Audit, bench.svid()).Ship());
    stream.send(garbage as object);
    await expectAppError(stream.end(), 'invalid', /writ\.v1\.Audit\/Ship/);
  });

  it('a failure that nobody foresaw tells the caller nothing', async () => {
    const bench = await startBench({
      identity: { ...echo.identity, signJwt: () => Promise.reject(new Error('password is hunter2')) },
    });
    const error = await expectAppError(signJwt(bench, bench.svid()), 'internal');
    expect(error.message).toBe('An internal error occurred. The server log has the details.');
  });
});

describe('health', () => {
  it('is known of the whole and of each service, and of nothing else', async () => {
    const bench = await startBench();
    for (const service of ['', 'writ.v1.Enrollment', 'writ.v1.Identity', 'writ.v1.Policy', 'writ.v1.Audit']) {
      expect(await check(bench, service), service).toEqual({ status: 'SERVING' });
    }
    await expectAppError(check(bench, 'writ.v1.Nothing'), 'not-found');
  });

  it('is watched: unknown services are said to be, and a stop is announced before the stream ends', async () => {
    const bench = await startBench();
    const client = bench.client(clients.Health);
    const watch = (service: string) =>
      new ClientStream(client.Watch({ service }) as unknown as ConstructorParameters<typeof ClientStream>[0]);
    const unknown = watch('nothing');
    expect(await unknown.receive()).toEqual({ status: 'SERVICE_UNKNOWN' });
    const known = watch('writ.v1.Policy');
    expect(await known.receive()).toEqual({ status: 'SERVING' });
    const closed = bench.server.close();
    expect(await known.receive()).toEqual({ status: 'NOT_SERVING' });
    await expectAppError(known.end(), 'unavailable');
    await closed;
  });
});

describe('start and stop', () => {
  it('a port that is taken is one clear error', async () => {
    const bench = await startBench();
    const { identity, bundle, clock } = bench;
    const { port } = bench.server;
    const services = absentServices;
    await expectAppError(
      startGrpcServer({ host: '127.0.0.1', port, identity, bundle, services, clock, logger: silentLogger }),
      'unavailable',
      `Cannot listen on 127.0.0.1:${port}: EADDRINUSE. Choose another port.`,
    );
  });

  it('close ends connections that never said a word, and is idempotent', async () => {
    const bench = await startBench();
    const silent = connectTcp(bench.server.port, '127.0.0.1');
    silent.on('error', () => undefined);
    await new Promise((resolve) => silent.once('connect', resolve));
    const idle = await handshake(bench.server.port, { ALPNProtocols: ['h2'] });
    const closed = Promise.all([silent, idle].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    const stopped = Promise.all([bench.server.close(), bench.server.close()]);
    await bench.clock.advance(10_000);
    await stopped;
    await closed;
  });

  it('close waits for calls that are under way', async () => {
    let finish = () => {};
    const started = Promise.withResolvers<void>();
    const bench = await startBench({
      identity: {
        ...echo.identity,
        signJwt: (caller, order) =>
          new Promise((resolve) => {
            finish = () => resolve(echo.identity.signJwt(caller, order));
            started.resolve();
          }),
      },
    });
    const answer = signJwt(bench, bench.svid());
    await started.promise;
    const closed = bench.server.close();
    finish();
    expect((await answer).token).toContain(WEB);
    await closed;
  });
});

function handshake(port: number, options: { maxVersion?: 'TLSv1.2'; ALPNProtocols?: string[] }): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
    onTestFinished(() => {
      socket.destroy();
    });
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', reject);
  });
}

/** DER, leaf first, as the server sends it. */
async function servedChain(port: number): Promise<Buffer[]> {
  const socket = await handshake(port, { ALPNProtocols: ['h2'] });
  const chain: Buffer[] = [];
  for (let next = socket.getPeerX509Certificate(); next !== undefined; next = next.issuerCertificate) {
    chain.push(new X509Certificate(next.raw).raw);
    if (chain.length > 5) break;
  }
  socket.destroy();
  return chain;
}

/** Calls until it fails with something that is not a broken connection. */
async function eventually(call: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await call();
    } catch (error) {
      if ((error as { code?: string }).code !== 'unavailable') throw error;
    }
  }
}
