import { X509Certificate } from 'node:crypto';
import { importJWK, jwtVerify } from 'jose';
import { describe, expect, it } from 'vitest';
import { createRoot } from '../../../src/core/identity/ca.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { createWorld, expectProblem, TRUST_DOMAIN } from './world.ts';

describe('GET /v1/proxies', () => {
  it('shows each sidecar with what it has acknowledged, times in RFC 3339', async () => {
    const world = await createWorld();
    const now = world.clock.now();
    world.proxies.push({
      instanceId: 'i-1',
      spiffeId: 'spiffe://example.org/ns/shop/sa/web',
      version: '0.1.0',
      connected: true,
      state: 'rejected',
      serving: true,
      desiredRevision: 5,
      desiredChange: null,
      staleSince: now - 61_000,
      acknowledgedRevision: null,
      acknowledgedAt: null,
      connectedSince: now,
      lastSeen: now,
      endpoints: ['127.0.0.1:9121'],
      ports: [{ applicationPort: 8080, protocol: 'http' }],
      lastError: '<b>cannot compile</b>',
    });
    expect((await world.request({ url: '/v1/proxies' })).json()).toEqual({
      items: [
        {
          instanceId: 'i-1',
          spiffeId: 'spiffe://example.org/ns/shop/sa/web',
          version: '0.1.0',
          connected: true,
          state: 'rejected',
          serving: true,
          desiredRevision: 5,
          desiredChange: null,
          staleSince: '2025-12-31T23:58:59.000Z',
          acknowledgedRevision: null,
          acknowledgedAt: null,
          connectedSince: '2026-01-01T00:00:00.000Z',
          lastSeen: '2026-01-01T00:00:00.000Z',
          endpoints: ['127.0.0.1:9121'],
          ports: [{ port: 8080, protocol: 'http' }],
          lastError: '<b>cannot compile</b>',
          quarantined: false,
          quarantineRevision: null,
          plainTextPorts: [],
          record: null,
        },
      ],
      nextCursor: null,
      revision: 0,
    });
  });
});

describe('the public keys', () => {
  it('are a SPIFFE bundle, or PEM for who asks for it', async () => {
    const world = await createWorld();
    const key = generateKeyPair();
    const now = world.clock.now();
    const root = createRoot({
      trustDomain: TRUST_DOMAIN,
      key,
      serial: Buffer.from('0102', 'hex'),
      notBefore: now,
      notAfter: now + 86_400_000,
    });
    world.bundle.set({ ...world.bundle.current, roots: [root], sequence: 4 });
    const json = await world.request({ url: '/v1/bundle', headers: { authorization: null } });
    expect(json.json()).toMatchObject({
      spiffe_sequence: 4,
      keys: [{ use: 'x509-svid' }, { use: 'jwt-svid', kid: 'key-1' }],
    });
    expect(json.headers.etag).toBe('"4"');
    const pem = await world.request({
      url: '/v1/bundle',
      headers: { authorization: null, accept: 'application/x-pem-file' },
    });
    expect(pem.headers['content-type']).toMatch(/^application\/x-pem-file/);
    expect(new X509Certificate(pem.payload).raw).toEqual(root);
    expect((await world.request({ url: '/v1/bundle', headers: { 'if-none-match': '"4"' } })).statusCode).toBe(304);
    expectProblem(await world.request({ url: '/v1/bundle?x=1', headers: { authorization: null } }), 400, 'invalid');
  });

  it('are a JWK Set that JOSE libraries take', async () => {
    const world = await createWorld();
    const response = await world.request({ url: '/v1/jwks', headers: { authorization: null } });
    const [jwk] = response.json().keys;
    expect(jwk).toMatchObject({ kty: 'EC', crv: 'P-256', kid: 'key-1', alg: 'ES256', use: 'sig' });
    expect(jwk).not.toHaveProperty('d');
    await expect(jwtVerify('a.b.c', await importJWK(jwk, 'ES256'))).rejects.toThrow(/JWS/);
  });
});

describe('GET /v1/info', () => {
  it('tells version, trust domain and addresses to administrators', async () => {
    const world = await createWorld();
    expect((await world.request({ url: '/v1/info' })).json()).toEqual({
      version: '0.1.0',
      trustDomain: 'example.org',
      trustDomainAliases: [],
      authorizers: [],
      addresses: { gRPC: '127.0.0.1:8444' },
    });
  });
});
