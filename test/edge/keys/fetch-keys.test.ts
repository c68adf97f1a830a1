import type { RequestListener } from 'node:http';
import { createServer as createHttp } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { MAX_JWKS_BYTES } from '../../../src/core/policy/jwks.ts';
import { isAllowedAddress } from '../../../src/edge/keys/address-guard.ts';
import type { FetchKeysOptions } from '../../../src/edge/keys/fetch-keys.ts';
import { keysFetcher } from '../../../src/edge/keys/fetch-keys.ts';
import { expectAppError } from '../../support/errors.ts';
import type { WebCertificate } from '../../support/web-certificate.ts';
import { makeWebCertificate } from '../../support/web-certificate.ts';

let web: WebCertificate;
beforeAll(async () => {
  web = await makeWebCertificate();
});

async function serve(listener: RequestListener, tls = true): Promise<string> {
  const server = tls ? createServer(web, listener) : createHttp(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const never = new AbortController().signal;

function fetch(url: string, o: FetchKeysOptions = {}, kind: 'jwks' | 'discovery' = 'jwks', timeoutMs = 5_000) {
  return keysFetcher({ ca: web.cert, allowLoopback: true, ...o })({ kind, url }, { timeoutMs, signal: never });
}

test('a set of keys is fetched over https, with nothing sent but the path', async () => {
  let seen: unknown;
  const base = await serve((req, res) => {
    seen = [req.method, req.url, req.headers];
    res.end('{"keys":[]}');
  });
  expect(await fetch(`${base}/keys?a=1`)).toBe('{"keys":[]}');
  expect(seen).toMatchObject(['GET', '/keys?a=1', { accept: 'application/json', 'user-agent': 'writ' }]);
  expect(Object.keys((seen as [string, string, object])[2]).sort()).toEqual([
    'accept',
    'accept-encoding',
    'connection',
    'host',
    'user-agent',
  ]);
});

describe('the discovery document', () => {
  const documents: Record<string, (base: string) => object> = {
    good: (base) => ({ issuer: `${base}/realm/`, jwks_uri: `${base}/keys` }),
    'of another issuer': (base) => ({ issuer: `${base}/other`, jwks_uri: `${base}/keys` }),
    'without keys': (base) => ({ issuer: `${base}/realm/` }),
    'that names http': (base) => ({ issuer: `${base}/realm/`, jwks_uri: `${base.replace('https', 'http')}/keys` }),
    'that names a file': (base) => ({ issuer: `${base}/realm/`, jwks_uri: 'file:///etc/passwd' }),
    'that is a list': () => [],
  };
  test.each(Object.keys(documents))('%s', async (name) => {
    const base: string = await serve((req, res) => {
      if (req.url === '/realm/.well-known/openid-configuration') res.end(JSON.stringify(documents[name]?.(base)));
      else res.end(req.url);
    });
    const answer = fetch(`${base}/realm/`, {}, 'discovery');
    if (name === 'good') expect(await answer).toBe('/keys');
    else await expectAppError(answer, 'invalid', /^The discovery document of the issuer /);
  });
});

describe('what is refused', () => {
  test('a certificate that nobody vouches for, or for another name', async () => {
    const base = await serve((_req, res) => res.end('{}'));
    const other = await makeWebCertificate('127.0.0.1');
    await expectAppError(fetch(base, { ca: other.cert }), 'unavailable', /or its certificate is not trusted/);
    await expectAppError(fetch(base.replace('127.0.0.1', 'localhost')), 'unavailable', /certificate is not trusted/);
  });

  test('this machine, by address and by name, unless that is configured', async () => {
    const base = await serve((_req, res) => res.end('{}'));
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '127.1', '0x7f.1', '[::ffff:127.0.0.1]']) {
      const url = base.replace('127.0.0.1', host);
      await expectAppError(fetch(url, { allowLoopback: false }), 'forbidden', /does not ask/);
    }
  });

  test('http, but for this machine where that is configured', async () => {
    const base = await serve((_req, res) => res.end('{}'), false);
    expect(await fetch(base)).toBe('{}');
    await expectAppError(fetch(base, { allowLoopback: false }), 'forbidden');
    await expectAppError(fetch('http://accounts.example/keys'), 'invalid', /could put other keys there/);
  });

  test('a host that the configuration does not name', async () => {
    const base = await serve((_req, res) => res.end('{}'));
    expect(await fetch(base, { hosts: ['127.0.0.1'] })).toBe('{}');
    await expectAppError(
      fetch(base, { hosts: ['accounts.example', '*.example'] }),
      'forbidden',
      /does not name this host/,
    );
    await expectAppError(fetch('https://evilexample/', { hosts: ['*.example'] }), 'forbidden', /does not name/);
  });

  test('a redirect, which could lead anywhere', async () => {
    let asked = 0;
    const base: string = await serve((_req, res) => {
      asked += 1;
      res.writeHead(302, { location: `${base}/other` }).end();
    });
    await expectAppError(fetch(base), 'unavailable', 'The issuer answered 302, not 200.');
    expect(asked).toBe(1);
  });

  test('an answer that is too long, compressed, broken off, or never comes', async () => {
    const large = await serve((_req, res) => res.end('x'.repeat(MAX_JWKS_BYTES + 1)));
    await expectAppError(fetch(large), 'unavailable', /more than 262144 bytes/);
    const gzip = await serve((_req, res) => res.writeHead(200, { 'content-encoding': 'gzip' }).end('x'));
    await expectAppError(fetch(gzip), 'unavailable', /encoding of its own/);
    const broken = await serve((_req, res) => {
      res.writeHead(200, { 'content-length': '10' });
      res.write('x', () => res.destroy());
    });
    await expectAppError(fetch(broken), 'unavailable');
    const silent = await serve(() => undefined);
    await expectAppError(fetch(silent, {}, 'jwks', 50), 'unavailable', 'The issuer did not answer in time.');
    const trickle = await serve((_req, res) => {
      const timer = setInterval(() => res.write(' '), 10);
      res.once('close', () => clearInterval(timer));
    });
    await expectAppError(fetch(trickle, {}, 'jwks', 100), 'unavailable', 'The issuer did not answer in time.');
  });
});

test('addresses that are never asked', () => {
  for (const address of ['169.254.169.254', '0.0.0.0', '224.0.0.1', '255.255.255.255', 'fe80::1', '::', 'ff02::1']) {
    expect(isAllowedAddress(address, { allowLoopback: true }), address).toBe(false);
  }
  for (const address of ['127.0.0.1', '127.255.0.1', '::1', '::ffff:127.0.0.1', '::ffff:169.254.169.254', 'x']) {
    expect(isAllowedAddress(address, {}), address).toBe(false);
  }
  for (const address of ['10.0.0.1', '192.0.2.1', '2001:db8::1', 'fd12::1']) {
    expect(isAllowedAddress(address, {}), address).toBe(true);
  }
});
