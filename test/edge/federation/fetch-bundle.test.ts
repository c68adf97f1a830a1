import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect, createServer as createTlsServer } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { spiffeBundle } from '../../../src/core/identity/bundle.ts';
import { parseSpiffeBundle } from '../../../src/core/identity/spiffe-bundle.ts';
import { startBundleEndpoint, svidTls } from '../../../src/edge/federation/bundle-endpoint.ts';
import { bundleFetcher } from '../../../src/edge/federation/fetch-bundle.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority, type TestAuthority } from '../../support/pki.ts';
import { makeWebCertificate } from '../../support/web-certificate.ts';

const own = await makeWebCertificate();
const elsewhere = await makeWebCertificate('other.example');
const second = await makeWebCertificate();
const CONTROL_PLANE = 'spiffe://partner.example/writ/control-plane';
const partner = createTestAuthority({ trustDomain: 'partner.example' });
const body = JSON.stringify(spiffeBundle(partner.bundle));
const signal = new AbortController().signal;
const fetchBundle = bundleFetcher({ now: Date.now, timeoutMs: 2_000 });
const spiffe = { kind: 'spiffe', spiffeId: CONTROL_PLANE, bundle: partner.bundle } as const;
const web = { kind: 'web', caCertificates: own.cert } as const;

async function serve(pem: { cert: string; key: string }, listener: RequestListener): Promise<string> {
  const server = createServer({ ...pem, maxVersion: 'TLSv1.3' }, listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const answers: RequestListener = (_req, res) => void res.end(body);
const pemOf = (authority: TestAuthority, id: string) => authority.issue(id).pem;

describe('Fetching a bundle', () => {
  it('spiffe 49: by https_web and by https_spiffe', async () => {
    const byWeb = await serve(own, answers);
    expect((await fetchBundle(byWeb, web, signal)).toString()).toBe(body);
    const bySpiffe = await serve(pemOf(partner, CONTROL_PLANE), answers);
    expect((await fetchBundle(bySpiffe, spiffe, signal)).toString()).toBe(body);
  });

  it('spiffe 51: the certificate must be for the host, and from an authority that is trusted', async () => {
    const url = await serve(elsewhere, answers);
    const trust = { kind: 'web', caCertificates: elsewhere.cert } as const;
    await expectAppError(fetchBundle(url, trust, signal), 'peer-refused', /not valid for this host/);
    const good = await serve(own, answers);
    await expectAppError(fetchBundle(good, { kind: 'web', caCertificates: null }, signal), 'peer-refused');
  });

  it('spiffe 52: the endpoint must present exactly the configured identity, under the bundle of its trust domain', async () => {
    const asked: string[] = [];
    const listener: RequestListener = (req, res) => {
      asked.push(req.url ?? '');
      res.end(body);
    };
    const other = await serve(pemOf(partner, 'spiffe://partner.example/ns/x/sa/y'), listener);
    await expectAppError(
      fetchBundle(other, spiffe, signal),
      'peer-refused',
      /is spiffe:\/\/partner.example\/ns\/x\/sa\/y/,
    );
    const forged = await serve(pemOf(createTestAuthority({ trustDomain: 'partner.example' }), CONTROL_PLANE), listener);
    await expectAppError(fetchBundle(forged, spiffe, signal), 'peer-refused');
    const webServer = await serve(own, listener);
    await expectAppError(fetchBundle(webServer, spiffe, signal), 'peer-refused');
    expect(asked).toEqual([]);
  });

  it('spiffe 51: redirects are followed to valid addresses, a few, and not remembered', async () => {
    const target = await serve(own, answers);
    let hits = 0;
    const from = await serve(own, (_req, res) => {
      hits += 1;
      res.writeHead(302, { location: target }).end();
    });
    for (let i = 0; i < 2; i += 1) expect((await fetchBundle(from, web, signal)).toString()).toBe(body);
    expect(hits).toBe(2);
    for (const location of [
      'http://127.0.0.1:1/',
      'https://user:secret@127.0.0.1:1/',
      'file:///etc/passwd',
      'gopher://x/',
    ]) {
      const bad = await serve(own, (_req, res) => void res.writeHead(307, { location }).end());
      const error = await expectAppError(
        fetchBundle(bad, web, signal),
        'peer-refused',
        /redirected to what is not an https URL/,
      );
      expect(error.message).not.toContain('secret');
    }
    const loop = await serve(own, (_req, res) => void res.writeHead(302, { location: '/' }).end());
    await expectAppError(fetchBundle(loop, web, signal), 'unavailable', /redirected more than 3 times/);
    const nowhere = await serve(own, (_req, res) => void res.writeHead(302).end());
    await expectAppError(fetchBundle(nowhere, web, signal), 'unavailable', /redirected to nowhere/);
  });

  it('spiffe 52: the target of a redirect must present the same SPIFFE ID', async () => {
    const good = await serve(pemOf(partner, CONTROL_PLANE), answers);
    const from = await serve(
      pemOf(partner, CONTROL_PLANE),
      (_req, res) => void res.writeHead(302, { location: good }).end(),
    );
    expect((await fetchBundle(from, spiffe, signal)).toString()).toBe(body);
    const other = await serve(pemOf(partner, 'spiffe://partner.example/ns/x/sa/y'), answers);
    const bad = await serve(
      pemOf(partner, CONTROL_PLANE),
      (_req, res) => void res.writeHead(302, { location: other }).end(),
    );
    await expectAppError(fetchBundle(bad, spiffe, signal), 'peer-refused', /was expected/);
  });

  it('an answer that is too long, encoded, not 200 or never comes is refused, and nothing of it is repeated', async () => {
    const refused = async (listener: RequestListener, message: RegExp) => {
      const error = await expectAppError(fetchBundle(await serve(own, listener), web, signal), 'unavailable', message);
      expect(error.message).not.toContain('SECRET');
    };
    await refused((_req, res) => void res.end(Buffer.alloc(600 * 1024, 0x20)), /more than 524288 bytes/);
    await refused(
      (_req, res) => void res.writeHead(200, { 'content-encoding': 'gzip' }).end('SECRET'),
      /encoding of its own/,
    );
    await refused((_req, res) => void res.writeHead(500).end('SECRET'), /answered 500, not 200/);
    await refused((_req, res) => {
      res.writeHead(200, { 'content-length': '100' });
      res.write('SECRET');
      setImmediate(() => res.destroy());
    }, /could not be reached|broke off/);
    const slow = bundleFetcher({ now: Date.now, timeoutMs: 200 });
    const url = await serve(own, (_req, res) => void res.writeHead(200).write('{'));
    await expectAppError(slow(url, web, signal), 'unavailable', /did not answer in time/);
    const switching = await serve(own, (_req, res) => {
      res.socket?.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n');
    });
    await expectAppError(fetchBundle(switching, web, signal), 'unavailable', /gave no answer/);
    const silent = createTlsServer(own);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void silent.close());
    const at = `https://127.0.0.1:${(silent.address() as AddressInfo).port}/`;
    await expectAppError(slow(at, web, signal), 'unavailable', /did not answer in time/);
    await expectAppError(fetchBundle('https://127.0.0.1:1/', web, signal), 'unavailable', /could not be reached/);
  });
});

describe('The bundle endpoint', () => {
  const ours = createTestAuthority();

  async function start(tls: WatchSource<{ cert: string; key: string }>, bundle = new WatchSource(ours.bundle)) {
    const endpoint = await startBundleEndpoint({ host: '127.0.0.1', port: 0, bundle, tls, logger: silentLogger });
    onTestFinished(() => endpoint.close());
    return { bundle, url: `https://127.0.0.1:${endpoint.port}/`, port: endpoint.port };
  }

  it('spiffe 51: GET gives the newest bundle as JSON, and no client certificate is asked for', async () => {
    const { bundle, url, port } = await start(new WatchSource(own));
    const socket = connect({ port, host: '127.0.0.1', ca: own.cert, ALPNProtocols: ['http/1.1'] });
    onTestFinished(() => void socket.destroy());
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const part of socket) text += String(part);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text).toMatch(/\r\ncontent-type: application\/json\r\n/i);
    expect(text).toMatch(/\r\ncache-control: no-cache\r\n/i);
    bundle.set({ ...ours.bundle, sequence: 9 });
    const fetched = await fetchBundle(url, web, signal);
    expect(parseSpiffeBundle(fetched, 'example.org')).toMatchObject({ sequence: 9n, roots: ours.bundle.roots });
  });

  it('only GET and HEAD are answered, and only where the bundle is', async () => {
    const { url } = await start(new WatchSource(own));
    const status = (method: string, path = '') => ask(`${url}${path}`, method);
    expect(await status('HEAD')).toBe(200);
    expect(await status('GET', '?x=1')).toBe(200);
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) expect(await status(method)).toBe(405);
    expect(await status('GET', 'etc/passwd')).toBe(404);
    expect(await status('GET', '../x')).toBe(404);
  });

  it('spiffe 49: nothing below TLS 1.2, and in 1.2 only forward secrecy with authenticated encryption', async () => {
    const { port } = await start(new WatchSource(own));
    const handshake = (options: object) =>
      new Promise<string | null>((resolve) => {
        const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
        socket.once('secureConnect', () => {
          resolve(socket.getProtocol());
          socket.destroy();
        });
        socket.once('error', () => resolve(null));
      });
    expect(await handshake({})).toBe('TLSv1.3');
    expect(await handshake({ maxVersion: 'TLSv1.2' })).toBe('TLSv1.2');
    expect(await handshake({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' })).toBe(null);
    expect(await handshake({ maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA' })).toBe(null);
    expect(await handshake({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' })).toBe(null);
  });

  it('spiffe 52: with https_spiffe it presents the SVID of the control plane, and each one that replaces it', async () => {
    const identity = () => {
      const svid = ours.issue('spiffe://example.org/writ/control-plane');
      return { chain: svid.chain, privateKey: svid.privateKey, notAfter: svid.notAfter };
    };
    const current = new WatchSource<ReturnType<typeof identity>>(identity());
    const { tls, stop } = svidTls(current as never);
    onTestFinished(stop);
    const { url } = await start(tls as never);
    const trust = { kind: 'spiffe', spiffeId: 'spiffe://example.org/writ/control-plane', bundle: ours.bundle } as const;
    expect(parseSpiffeBundle(await fetchBundle(url, trust, signal), 'example.org').roots).toEqual(ours.bundle.roots);
    current.set(identity());
    expect(parseSpiffeBundle(await fetchBundle(url, trust, signal), 'example.org').roots).toEqual(ours.bundle.roots);
  });

  it('a certificate that is replaced applies to the next connection; one that is damaged does not', async () => {
    const tls = new WatchSource(own);
    const { url } = await start(tls);
    const other = second;
    tls.set(other);
    await fetchBundle(url, { kind: 'web', caCertificates: other.cert }, signal);
    await expectAppError(fetchBundle(url, web, signal), 'peer-refused');
    tls.set({ cert: 'x', key: 'y' });
    await fetchBundle(url, { kind: 'web', caCertificates: other.cert }, signal);
  });
});

async function ask(url: string, method: string): Promise<number> {
  const { request } = await import('node:https');
  return await new Promise((resolve, reject) => {
    const call = request(url, { method, ca: own.cert, agent: false }, (res) => {
      res.resume();
      resolve(res.statusCode ?? 0);
    });
    call.on('error', reject);
    call.end();
  });
}
