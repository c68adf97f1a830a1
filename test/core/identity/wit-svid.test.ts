import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { createLocalJWKSet, importJWK, jwtVerify } from 'jose';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { jwtKey, spiffeBundle, thumbprint, witKeys } from '../../../src/core/identity/bundle.ts';
import { verifyJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { parseSpiffeId, workloadId } from '../../../src/core/identity/spiffe-id.ts';
import { signWitSvid, verifyWitSvid } from '../../../src/core/identity/wit-svid.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';

const now = Date.UTC(2026, 5, 1, 12, 0, 0);
const key = generateKeyPair();
const kid = thumbprint(key.publicKey);
const base = createTestAuthority({ now });
const bundle: TrustBundle = {
  ...base.bundle,
  jwks: { keys: [...base.bundle.jwks.keys, jwtKey(key.publicKey, kid, 'wit-svid')] },
};
const id = workloadId('example.org', 'shop', 'web');
const workload = generateKeyPair();

const issue = (o: Partial<Parameters<typeof signWitSvid>[0]> = {}) =>
  signWitSvid({ id, publicKey: workload.publicKey, kid, privateKey: key.privateKey, now, ttlSeconds: 3600, ...o });
const verify = (token: string, o: { bundle?: TrustBundle; now?: number } = {}) =>
  verifyWitSvid(token, { bundle, now, ...o });
const refused = (token: string, o: Parameters<typeof verify>[1] = {}) =>
  expectAppError(verify(token, o), 'token-refused', 'The WIT-SVID is not valid here.');
const part = (token: string, index: number) =>
  JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString());

/** A token whose every part can be made wrong, with a right signature. */
function forge(o: { header?: object; claims?: object; key?: KeyObject } = {}): string {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const jwk = { ...workload.publicKey.export({ format: 'jwk' }), alg: 'ES256' };
  const claims = { sub: id.uri, iat: now / 1000, exp: now / 1000 + 3600, cnf: { jwk }, ...o.claims };
  const input = `${encode({ alg: 'ES256', kid, typ: 'wit+jwt', ...o.header })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(input), { key: o.key ?? key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

describe('a WIT-SVID that Writ signs', () => {
  it('spiffe 53: has kid, typ wit+jwt and alg, and no other header', async () => {
    const { token } = await issue();
    expect(part(token, 0)).toEqual({ alg: 'ES256', kid, typ: 'wit+jwt' });
  });

  it('spiffe 53: has sub, exp and cnf.jwk with alg, the public half only, and neither aud nor iss', async () => {
    const { token, issuedAt, expiresAt } = await issue({ jti: 'j-1' });
    const { crv, kty, x, y } = workload.publicKey.export({ format: 'jwk' });
    expect(part(token, 1)).toEqual({
      sub: id.uri,
      iat: now / 1000,
      exp: now / 1000 + 3600,
      jti: 'j-1',
      cnf: { jwk: { crv, kty, x, y, alg: 'ES256' } },
    });
    expect([issuedAt, expiresAt]).toEqual([now, now + 3_600_000]);
  });

  it('spiffe 53: names the algorithm of the workload’s key, whichever it is', async () => {
    for (const [pair, alg] of [
      [generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'ES384'],
      [generateKeyPairSync('rsa', { modulusLength: 2048 }), 'RS256'],
    ] as const) {
      const { token } = await issue({ publicKey: pair.publicKey });
      expect(part(token, 1).cnf.jwk.alg).toBe(alg);
      expect((await verify(token)).key.equals(pair.publicKey)).toBe(true);
    }
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey;
    await expectAppError(issue({ publicKey: weak }), 'invalid', /1024 bits/);
  });

  it('verifies with jose, and proves the key that is in it', async () => {
    const { token } = await issue();
    const keys = createLocalJWKSet({ keys: witKeys(bundle).map((jwk) => ({ ...jwk, use: 'sig' })) });
    const { payload } = await jwtVerify(token, keys, { currentDate: new Date(now), typ: 'wit+jwt' });
    const confirmed = await importJWK((payload.cnf as { jwk: object }).jwk);
    expect(confirmed).toBeDefined();
    expect(await verify(token)).toMatchObject({ id, expiresAt: now + 3_600_000 });
    expect((await verify(token)).key.equals(workload.publicKey)).toBe(true);
  });

  it('is not made without a path, without a lifetime, or beyond the end of the key', async () => {
    await expectAppError(issue({ id: parseSpiffeId('spiffe://example.org') }), 'invalid', /no WIT-SVID/);
    await expectAppError(issue({ ttlSeconds: 0 }), 'invalid', /lifetime/);
    expect((await issue({ notAfter: now + 5_999 })).expiresAt).toBe(now + 5_000);
    await expectAppError(issue({ notAfter: now }), 'unavailable', /ended/);
  });

  it('spiffe 53: is no JWT-SVID, and a JWT-SVID is none', async () => {
    const { token } = await issue();
    await expectAppError(verifyJwtSvid(token, { audiences: ['a'], bundle, now }), 'token-refused');
    await refused(forge({ header: { typ: 'JWT' } }));
    await refused(forge({ header: { typ: undefined } }));
  });

  it('spiffe 53: is verified by keys with use wit-svid only, whose kid is unique in the whole bundle', async () => {
    const { token } = await issue();
    await refused(token, { bundle: { ...bundle, jwks: { keys: [jwtKey(key.publicKey, kid)] } } });
    const kids = spiffeBundle(bundle).keys.flatMap((jwk) => jwk.kid ?? []);
    expect(new Set(kids).size).toBe(kids.length);
    expect(spiffeBundle(bundle).keys.map((jwk) => jwk.use)).toEqual(['x509-svid', 'jwt-svid', 'wit-svid']);
  });
});

describe('a WIT-SVID that comes from somebody', () => {
  it('is accepted as the helper forges it, so that the refusals below are for their own reasons', async () => {
    expect((await verify(forge())).id).toEqual(id);
  });

  it('spiffe 53: with an audience is refused', () => refused(forge({ claims: { aud: 'somebody' } })));

  it.each([
    { sub: undefined },
    { exp: undefined },
    { cnf: undefined },
    { cnf: {} },
    { cnf: { jwk: null } },
    { sub: 7 },
  ])('spiffe 53: without what it must have is refused: %j', (claims) =>
    refused(forge({ claims })).then(() => undefined),
  );

  it('spiffe 53: whose key has no algorithm, or another than its own, is refused', async () => {
    const jwk = workload.publicKey.export({ format: 'jwk' });
    for (const alg of [undefined, 'none', 'HS256', 'ES384'])
      await refused(forge({ claims: { cnf: { jwk: { ...jwk, alg } } } }));
    await refused(forge({ claims: { cnf: { jwk: { ...jwk, x: 'AAAA', alg: 'ES256' } } } }));
  });

  it('that has ended, is of another trust domain, or was signed by another key is refused', async () => {
    await refused(forge(), { now: now + 3_600_001 });
    await refused(forge({ claims: { sub: 'spiffe://other.org/ns/a/sa/b' } }));
    await refused(forge({ key: generateKeyPair().privateKey }));
    await refused(forge({ header: { kid: 'x' } }));
    await refused(forge({ header: { alg: 'none' } }));
    await refused(forge({ header: { jku: 'https://evil.example' } }));
  });

  it('any text, and a token that was changed anywhere, is refused with token-refused and nothing else', async () => {
    const token = forge();
    const code = (text: string) =>
      verify(text).then(
        () => 'accepted',
        (error: unknown) => (error instanceof AppError ? error.code : error),
      );
    await fc.assert(
      fc.asyncProperty(fc.string(), async (text) => (await code(text)) === 'token-refused'),
      { numRuns: 200 },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.constantFrom(...'ABCabc012-_.=~ '), async (at, character) => {
        if (token[at] === character) return true;
        return (await code(token.slice(0, at) + character + token.slice(at + 1))) === 'token-refused';
      }),
      { numRuns: 300 },
    );
  });
});
