import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bundlePem,
  fingerprint,
  jwtKeys,
  parseFingerprint,
  parsePemCertificates,
  publicJwks,
  spiffeBundle,
  type TrustBundle,
} from '../../../src/core/identity/bundle.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { accepts } from './mutate.ts';

const one = createTestAuthority();
const two = createTestAuthority();
const bundle: TrustBundle = { ...one.bundle, roots: [...one.bundle.roots, ...two.bundle.roots], sequence: 7 };

describe('PEM', () => {
  it('every root is written and read back', () => {
    const pem = bundlePem(bundle);
    expect(pem.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(parsePemCertificates(pem).map(fingerprint)).toEqual(bundle.roots.map(fingerprint));
  });

  it('text around the blocks and CRLF are skipped', () => {
    const pem = `subject=O = Writ\r\n${bundlePem(bundle).replaceAll('\n', '\r\n')}\r\n# end`;
    expect(parsePemCertificates(pem)).toHaveLength(2);
  });

  it.each(['', 'hello', '-----BEGIN CERTIFICATE-----', '-----BEGIN CERTIFICATE-----\nAAAA'])(
    '%j has no certificate',
    (pem) => expectAppError(() => parsePemCertificates(pem), 'invalid', /has no certificate/).then(() => undefined),
  );

  it('a private key among the certificates is refused', () => {
    const key = generateKeyPair().privateKey.export({ format: 'pem', type: 'pkcs8' });
    return expectAppError(
      () => parsePemCertificates(`${bundlePem(bundle)}${key}`),
      'invalid',
      /PRIVATE KEY; only CERTIFICATE/,
    );
  });

  it('a block that is not base64, or not a certificate, is refused', async () => {
    const block = (body: string) => `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;
    await expectAppError(() => parsePemCertificates(block('!!!!')), 'invalid', /not base64/);
    await expectAppError(() => parsePemCertificates(block('')), 'invalid', /not base64/);
    await expectAppError(() => parsePemCertificates(block('AAAA')), 'invalid', /Malformed DER/);
    await expectAppError(() => parsePemCertificates(block('A'.repeat(100_000))), 'invalid', /not base64/);
  });

  it('more than 100 certificates are refused', () =>
    expectAppError(() => parsePemCertificates(bundlePem(one.bundle).repeat(101)), 'invalid', /more than 100/));

  it('any text is read or refused', () => {
    const pieces = fc.constantFrom(
      '-----BEGIN CERTIFICATE-----',
      '-----END CERTIFICATE-----',
      '-----BEGIN ',
      '-----',
      '\n',
      'AAAA',
      '-',
      bundlePem(one.bundle),
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(pieces, fc.string()), { maxLength: 12 }), (parts) => {
        accepts(() => parsePemCertificates(parts.join('')), 'invalid');
      }),
      { numRuns: 500 },
    );
    accepts(() => parsePemCertificates('-----BEGIN CERTIFICATE-----'.repeat(20_000)), 'invalid');
  });
});

describe('fingerprints', () => {
  const [root = Buffer.alloc(0)] = one.bundle.roots;

  it('is the SHA-256 that OpenSSL prints', () => {
    const printed = new X509Certificate(root).fingerprint256;
    expect(printed).toMatch(/^[0-9A-F]{2}(:[0-9A-F]{2}){31}$/);
    expect(parseFingerprint(printed)).toBe(fingerprint(root));
  });

  it.each(['sha256:', 'SHA256:', 'SHA-256:', 'sha256=', ' '])('may begin with %j', (prefix) => {
    expect(parseFingerprint(prefix + fingerprint(root).toUpperCase())).toBe(fingerprint(root));
  });

  it.each(['', 'sha256:', 'ab', 'g'.repeat(64), '0'.repeat(63), '0'.repeat(65), `sha1:${'0'.repeat(64)}`])(
    '%j is none',
    (text) => expectAppError(() => parseFingerprint(text), 'invalid', /64 hexadecimal digits/).then(() => undefined),
  );
});

describe('the bundle as a JWK Set', () => {
  const [rootKey, secondRootKey, jwtKeyEntry, ...rest] = spiffeBundle(bundle).keys;

  it('spiffe 18: has one key per root, without kid, with exactly one self-signed certificate', () => {
    for (const [key, root] of [
      [rootKey, bundle.roots[0]],
      [secondRootKey, bundle.roots[1]],
    ] as const) {
      expect(key).toMatchObject({ kty: 'EC', crv: 'P-256', use: 'x509-svid', x5c: [root?.toString('base64')] });
      expect(key).not.toHaveProperty('kid');
      const certificate = new X509Certificate(Buffer.from(key?.x5c?.[0] ?? '', 'base64'));
      expect(certificate.verify(certificate.publicKey)).toBe(true);
      expect(certificate.publicKey.export({ format: 'jwk' })).toMatchObject({ x: key?.x, y: key?.y });
    }
  });

  it('spiffe 24: has the JWT keys with use jwt-svid and a kid', () => {
    expect(jwtKeyEntry).toMatchObject({ kty: 'EC', use: 'jwt-svid', kid: one.jwt.kid });
    expect(rest).toEqual([]);
  });

  it('spiffe 24: only keys with use jwt-svid and a kid verify JWT-SVIDs', () => {
    const [key] = one.bundle.jwks.keys;
    const keys = [
      { ...key, use: 'x509-svid' },
      { ...key, kid: '' },
      { ...key, use: 'wit-svid' },
    ].map((k) => ({ ...k, kty: 'EC' }));
    expect(jwtKeys({ ...bundle, jwks: { keys } })).toEqual([]);
    expect(jwtKeys(bundle)).toEqual(one.bundle.jwks.keys);
  });

  it('spiffe 43, 44, 45: has a sequence, a refresh hint and keys, and no private member', () => {
    const document = JSON.parse(JSON.stringify(spiffeBundle(bundle)));
    expect(Object.keys(document).sort()).toEqual(['keys', 'spiffe_refresh_hint', 'spiffe_sequence']);
    expect(document).toMatchObject({ spiffe_sequence: 7, spiffe_refresh_hint: 300 });
    for (const key of document.keys) expect(key).not.toHaveProperty('d');
    expect(spiffeBundle({ ...bundle, roots: [], jwks: { keys: [] } }).keys).toEqual([]);
  });

  it('for JOSE libraries the JWT keys have use sig', () => {
    expect(publicJwks(bundle)).toEqual({ keys: [{ ...one.bundle.jwks.keys[0], use: 'sig' }] });
  });
});
