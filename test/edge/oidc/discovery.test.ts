import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRemoteJWKSet, customFetch, errors, jwtVerify } from 'jose';
import { expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import { Authority } from '../../../src/control/authority/authority.ts';
import { MemoryAuthorities } from '../../../src/control/authority/authority-store.ts';
import { MemoryKeyStore } from '../../../src/control/authority/keys/key-store.ts';
import { parseSpiffeId } from '../../../src/core/identity/spiffe-id.ts';
import { startDiscovery } from '../../../src/edge/oidc/discovery.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { makeWebCertificate } from '../../support/web-certificate.ts';

/** As a proxy in front serves it: what verifiers call https://issuer.example, we answer on loopback. */
async function start(issuer: string) {
  const authority = await Authority.open({
    trustDomain: 'example.org',
    store: new MemoryAuthorities(),
    keyStore: new MemoryKeyStore(),
    clock: systemClock,
    logger: silentLogger,
    jwtIssuer: issuer,
  });
  const options = { host: '127.0.0.1', port: 0, issuer, tls: undefined, logger: silentLogger };
  const discovery = await startDiscovery({ ...options, bundle: authority.bundle });
  onTestFinished(() => discovery.close());
  const through = (url: string | URL) => {
    expect(String(url).startsWith(new URL(issuer).origin)).toBe(true);
    return fetch(`http://127.0.0.1:${discovery.port}${new URL(url).pathname}`);
  };
  return { authority, port: discovery.port, through };
}

it.each(['https://issuer.example', 'https://issuer.example/writ/prod/'])(
  'a standard OpenID Connect verifier accepts a JWT-SVID of %s through discovery',
  async (issuer) => {
    const { authority, through } = await start(issuer);
    const token = await authority.signJwt({
      id: parseSpiffeId('spiffe://example.org/ns/shop/sa/web'),
      audience: ['https://cloud.example'],
    });
    // OpenID Connect Discovery §4: the issuer without a slash at its end, and the well-known path behind it.
    const found = await through(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
    expect(found.headers.get('content-type')).toBe('application/json');
    expect(found.headers.get('cache-control')).toBe('public, max-age=3600');
    const configuration = (await found.json()) as { issuer: string; jwks_uri: string };
    // §4.3: it must be exactly the one that was asked for, and the `iss` of the token.
    expect(configuration).toMatchObject({
      issuer,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
    });
    const keys = createRemoteJWKSet(new URL(configuration.jwks_uri), { [customFetch]: (url) => through(url) });
    const verify = (audience: string, from = issuer) =>
      jwtVerify(token.token, keys, { issuer: from, audience, algorithms: ['ES256'], requiredClaims: ['jti', 'exp'] });
    expect((await verify('https://cloud.example')).payload).toMatchObject({
      iss: issuer,
      sub: 'spiffe://example.org/ns/shop/sa/web',
    });
    await expect(verify('https://other.example')).rejects.toThrow(errors.JWTClaimValidationFailed);
    await expect(verify('https://cloud.example', 'https://else.example')).rejects.toThrow(
      errors.JWTClaimValidationFailed,
    );
  },
);

it('keys are those of the newest bundle, may be kept for five minutes, and are public keys for signatures only', async () => {
  const ours = createTestAuthority();
  const bundle = new WatchSource(ours.bundle);
  const options = { host: '127.0.0.1', port: 0, issuer: 'https://issuer.example', logger: silentLogger };
  const discovery = await startDiscovery({ ...options, bundle, tls: undefined });
  onTestFinished(() => discovery.close());
  const get = () => fetch(`http://127.0.0.1:${discovery.port}/keys`);
  const first = await get();
  expect(first.headers.get('cache-control')).toBe('public, max-age=300');
  expect(await first.json()).toMatchObject({ keys: [{ kid: ours.jwt.kid, use: 'sig', alg: 'ES256' }] });
  bundle.set({ ...ours.bundle, jwks: { keys: [] } });
  expect(await (await get()).json()).toEqual({ keys: [] });
});

it('with a certificate it speaks https', async () => {
  const certificate = await makeWebCertificate();
  const options = { host: '127.0.0.1', port: 0, issuer: 'https://127.0.0.1', logger: silentLogger };
  const tls = new WatchSource(certificate);
  const discovery = await startDiscovery({ ...options, bundle: new WatchSource(createTestAuthority().bundle), tls });
  onTestFinished(() => discovery.close());
  const { request } = await import('node:https');
  const status = await new Promise((resolve, reject) => {
    const url = `https://127.0.0.1:${discovery.port}/.well-known/openid-configuration`;
    request(url, { ca: certificate.cert, agent: false }, (res) => resolve(res.resume().statusCode))
      .on('error', reject)
      .end();
  });
  expect(status).toBe(200);
});

it('an address that is taken is said', async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void taken.close());
  const { port } = taken.address() as AddressInfo;
  const options = { host: '127.0.0.1', port, issuer: 'https://issuer.example', tls: undefined, logger: silentLogger };
  const bundle = new WatchSource(createTestAuthority().bundle);
  await expect(startDiscovery({ ...options, bundle })).rejects.toMatchObject({ code: 'unavailable' });
});
