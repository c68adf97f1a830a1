import { createHmac, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { createLocalJWKSet, jwtVerify, SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { jwtKey, publicJwks, type TrustBundle } from '../../../src/core/identity/bundle.ts';
import {
  claimsJwtSvid,
  MAX_TOKEN_BYTES,
  reservedClaims,
  signJwtSvid,
  verifyJwtSvid,
} from '../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { parseSpiffeId, workloadId } from '../../../src/core/identity/spiffe-id.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';

const now = Date.UTC(2026, 5, 1, 12, 0, 0);
const authority = createTestAuthority({ now });
const { bundle, jwt } = authority;
const id = workloadId('example.org', 'shop', 'web');
const audience = 'https://billing.example';

const issue = (o: Partial<Parameters<typeof signJwtSvid>[0]> = {}) =>
  signJwtSvid({ id, audience: [audience], kid: jwt.kid, privateKey: jwt.privateKey, now, ttlSeconds: 300, ...o });
const verify = (token: string, o: { audiences?: readonly string[]; bundle?: TrustBundle; now?: number } = {}) =>
  verifyJwtSvid(token, { audiences: [audience], bundle, now, ...o });

/** One text for every reason. */
const refused = (token: string, o: Parameters<typeof verify>[1] = {}) =>
  expectAppError(verify(token, o), 'token-refused', 'The JWT-SVID is not valid here.');

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token whose every part can be made wrong, with a right signature. */
function forge(o: { header?: object; claims?: object; key?: KeyObject } = {}): string {
  const header = o.header ?? { alg: 'ES256', kid: jwt.kid, typ: 'JWT' };
  const claims = o.claims ?? good;
  const input = `${encode(header)}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(input), { key: o.key ?? jwt.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}
const good = { sub: id.uri, aud: [audience], iat: now / 1000, exp: now / 1000 + 300 };
const withHeader = (changes: object) => forge({ header: { alg: 'ES256', kid: jwt.kid, typ: 'JWT', ...changes } });
const withClaims = (changes: object) => forge({ claims: { ...good, ...changes } });

describe('a JWT-SVID that Writ signs', () => {
  it('spiffe 19, 20, 21: is a compact JWS with the headers alg ES256, kid and typ, and no other', async () => {
    const { token } = await issue();
    expect(token).toMatch(/^[\w-]+\.[\w-]+\.[\w-]{86}$/);
    expect(JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())).toEqual({
      alg: 'ES256',
      kid: jwt.kid,
      typ: 'JWT',
    });
  });

  it('spiffe 22: has sub, one audience, iat and exp', async () => {
    const { token, issuedAt, expiresAt } = await issue({ now: now + 999, jti: 'j-1' });
    expect(JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())).toEqual({
      sub: 'spiffe://example.org/ns/shop/sa/web',
      aud: ['https://billing.example'],
      iat: now / 1000,
      exp: now / 1000 + 300,
      jti: 'j-1',
    });
    expect([issuedAt, expiresAt]).toEqual([now, now + 300_000]);
  });

  it('verifies with jose against the public JWK Set, for its audience and until it ends', async () => {
    const keys = createLocalJWKSet(publicJwks(bundle));
    const options = { audience, currentDate: new Date(now), algorithms: ['ES256'], typ: 'JWT' };
    // Often enough to meet signatures whose r or s is shorter than 32 bytes.
    for (let i = 0; i < 300; i++) {
      const { token } = await issue({ jti: String(i) });
      const { payload } = await jwtVerify(token, keys, options);
      expect(payload.sub).toBe(id.uri);
    }
    const { token } = await issue();
    await expect(jwtVerify(token, keys, { ...options, audience: 'other' })).rejects.toThrow(/aud/);
    await expect(jwtVerify(token, keys, { ...options, currentDate: new Date(now + 301_000) })).rejects.toThrow(/exp/);
  });

  it('is verified by Writ', async () => {
    const { token, expiresAt } = await issue();
    expect(await verify(token)).toMatchObject({ id, audience: [audience], expiresAt, claims: { sub: id.uri } });
  });

  it('spiffe 22, S14: may have several audiences; empty and repeated names are left out, and one must remain', async () => {
    const { token } = await issue({ audience: ['a', '', 'b', 'a'] });
    const { aud } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    expect(aud).toEqual(['a', 'b']);
    for (const name of ['a', 'b']) expect((await verify(token, { audiences: [name] })).audience).toEqual(['a', 'b']);
    await refused(token, { audiences: ['c'] });
    await expectAppError(issue({ audience: [] }), 'invalid', /at least one audience/);
    const many = Array.from({ length: 17 }, (_, i) => `a-${i}`);
    await expectAppError(issue({ audience: many }), 'invalid', /at most 16 audiences/);
    expect(await issue({ audience: many.slice(1) })).toBeDefined();
  });

  it('S14: never outlives its key, and is not signed once that has ended', async () => {
    expect((await issue({ notAfter: now + 100_500 })).expiresAt).toBe(now + 100_000);
    expect((await issue({ notAfter: now + 400_000 })).expiresAt).toBe(now + 300_000);
    await expectAppError(issue({ notAfter: now + 999 }), 'unavailable', /key that signs tokens has ended/);
  });

  it('spiffe 23: may have an issuer, an id and claims of its entry', async () => {
    const claims = { department: 'shop', roles: ['a', 'b'], nested: { n: 1 } };
    const { token } = await issue({ issuer: 'https://writ.example', jti: 'j', claims });
    const verified = await verify(token);
    expect(verified.claims).toMatchObject({ ...claims, iss: 'https://writ.example', jti: 'j', sub: id.uri });
  });

  it.each(reservedClaims.map((name) => [name]))('S14: the claim %s cannot be set by an entry', async (name) => {
    await expectAppError(
      issue({ claims: { [name]: 'x' } }),
      'invalid',
      new RegExp(`^The claim ${name} is set by Writ`),
    );
  });

  it('has claims of at most 4096 bytes, and is never longer than what is verified', async () => {
    const claims = (bytes: number) => ({ a: 'x'.repeat(bytes - '{"a":""}'.length) });
    expect(await verify((await issue({ claims: claims(4096) })).token)).toBeDefined();
    await expectAppError(issue({ claims: claims(4097) }), 'invalid', /at most 4096 bytes/);
    const audience = Array.from({ length: 16 }, (_, i) => `${i}`.padEnd(1024, 'x'));
    await expectAppError(issue({ audience }), 'invalid', /longer than 8192 bytes/);
  });

  it('can be signed by a key that is elsewhere, and a wrong answer from there is seen by whoever verifies', async () => {
    const elsewhere = { sign: async (data: Buffer) => sign('sha256', data, jwt.privateKey) };
    expect((await verify((await issue({ privateKey: elsewhere })).token)).id).toEqual(id);
    await refused(
      (await issue({ privateKey: { sign: async (data) => sign('sha256', data, generateKeyPair().privateKey) } })).token,
    );
    await expectAppError(issue({ privateKey: { sign: async () => Buffer.from('no') } }), 'internal', /no signature/);
  });

  it('is not made for nobody, for too long a name, without a path or without a lifetime', async () => {
    await expectAppError(issue({ audience: ['', ''] }), 'invalid', /at least one audience/);
    await expectAppError(issue({ audience: ['ü'.repeat(513)] }), 'invalid', /1 to 1024 bytes/);
    await expectAppError(issue({ id: parseSpiffeId('spiffe://example.org') }), 'invalid', /no JWT-SVID/);
    for (const ttlSeconds of [0, -1, 1.5, Number.NaN])
      await expectAppError(issue({ ttlSeconds }), 'invalid', /lifetime/);
  });
});

it('the forgery helper makes tokens that are accepted, so that the refusals below are for their own reasons', async () => {
  expect((await verify(forge())).id).toEqual(id);
});

it('a token that jose signed is accepted', async () => {
  const token = await new SignJWT(good).setProtectedHeader({ alg: 'ES256', kid: jwt.kid }).sign(jwt.privateKey);
  expect((await verify(token)).id).toEqual(id);
});

describe('the form', () => {
  it('spiffe 19: only compact serialization is taken', async () => {
    const token = forge();
    const [header = '', payload = '', signature = ''] = token.split('.');
    const flattened = { protected: header, payload, signature };
    await refused(JSON.stringify(flattened));
    await refused(JSON.stringify({ payload, signatures: [{ protected: header, signature }] }));
    for (const bad of [
      '',
      '.',
      '..',
      `${header}.${payload}`,
      `${token}.x`,
      `${token}.`,
      ` ${token}`,
      `${token}\n`,
      `Bearer ${token}`,
    ]) {
      await refused(bad);
    }
  });

  it('spiffe 19: a second spelling of the same token is refused', async () => {
    const token = forge();
    await refused(`${token}=`);
    await refused(`${token}==`);
    // The last character of an 86-character signature carries four bits that nobody reads.
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = alphabet.indexOf(token.at(-1) ?? '');
    await refused(token.slice(0, -1) + alphabet[last ^ 1]);
  });

  it.each([
    { crit: ['x'], x: 1 },
    { jku: 'https://evil' },
    { jwk: {} },
    { x5c: ['x'] },
    { cty: 'JWT' },
    { b64: true },
    { zip: 'DEF' },
  ])('spiffe 19: a header beside alg, kid and typ is refused: %j', (header) =>
    refused(withHeader(header)).then(() => undefined),
  );

  it.each(['none', 'None', 'HS256', 'RS256', 'PS256', 'ES384', 'EdDSA', 'es256', '', undefined, null, ['ES256']])(
    'spiffe 20: alg %j is refused',
    (alg) => refused(withHeader({ alg })).then(() => undefined),
  );

  it('spiffe 20: a token without a signature, or signed with the public key as a secret, is refused', async () => {
    const input = `${encode({ alg: 'none', typ: 'JWT', kid: jwt.kid })}.${encode(good)}`;
    await refused(`${input}.`);
    const hmac = `${encode({ alg: 'HS256', typ: 'JWT', kid: jwt.kid })}.${encode(good)}`;
    const secret = JSON.stringify(bundle.jwks.keys[0]);
    await refused(`${hmac}.${createHmac('sha256', secret).update(hmac).digest('base64url')}`);
  });

  it('spiffe 21: typ may be JWT, JOSE or missing, and nothing else', async () => {
    expect((await verify(withHeader({ typ: 'JOSE' }))).id).toEqual(id);
    expect((await verify(withHeader({ typ: undefined }))).id).toEqual(id);
    for (const typ of ['jwt', 'at+jwt', 'wit+jwt', '', 1, null]) await refused(withHeader({ typ }));
  });

  it('spiffe 21: a kid is required and must be known', async () => {
    for (const kid of [undefined, '', null, 1, 'other']) await refused(withHeader({ kid }));
  });

  it('a token of more than 8 KiB is refused unread', () => refused(withClaims({ x: 'a'.repeat(MAX_TOKEN_BYTES) })));
});

describe('the claims', () => {
  it.each([
    undefined,
    '',
    1,
    'web',
    'spiffe://example.org',
    'spiffe://example.org/a/',
    'SPIFFE://example.org/a',
    ['spiffe://example.org/a'],
  ])('spiffe 22: sub %j is refused', (sub) => refused(withClaims({ sub })).then(() => undefined));

  it('spiffe 22: an audience is required, and ours must be among them', async () => {
    for (const aud of [undefined, [], '', 'other', ['other'], [`${audience}/`], null, {}, [1]])
      await refused(withClaims({ aud }));
    expect((await verify(withClaims({ aud: audience }))).audience).toEqual([audience]);
    expect((await verify(withClaims({ aud: ['other', audience] }))).audience).toEqual(['other', audience]);
    await refused(withClaims({ aud: [audience, 1] }));
    await refused(forge(), { audiences: [] });
    await refused(forge(), { audiences: ['other'] });
    expect((await verify(forge(), { audiences: ['other', audience] })).id).toEqual(id);
  });

  it('spiffe 22: an end is required and kept to the second', async () => {
    for (const exp of [undefined, null, 'soon', now / 1000, now / 1000 - 1]) await refused(withClaims({ exp }));
    expect((await verify(forge(), { now: now + 299_999 })).id).toEqual(id);
    await refused(forge(), { now: now + 300_000 });
  });

  it('a token that is not valid yet is refused', async () => {
    await refused(withClaims({ nbf: now / 1000 + 1 }));
    expect((await verify(withClaims({ nbf: now / 1000 }))).id).toEqual(id);
  });
});

describe('the key', () => {
  it('a token signed by another key is refused', () => refused(forge({ key: generateKeyPair().privateKey })));

  it('a changed claim is refused', async () => {
    const [header, , signature] = forge().split('.');
    await refused(`${header}.${encode({ ...good, sub: 'spiffe://example.org/ns/shop/sa/admin' })}.${signature}`);
  });

  it('spiffe 24: a key with another use does not verify a JWT-SVID', async () => {
    const [key] = bundle.jwks.keys;
    for (const use of ['x509-svid', 'wit-svid', 'sig', undefined]) {
      const { use: _, ...rest } = key ?? {};
      const keys = [{ ...rest, kty: 'EC', ...(use === undefined ? {} : { use }) }];
      await refused(forge(), { bundle: { ...bundle, jwks: { keys } } });
    }
  });

  it('spiffe 24: a bundle without keys trusts no token', () =>
    refused(forge(), { bundle: { ...bundle, jwks: { keys: [] } } }));

  it('a key of another type under the right kid is refused', async () => {
    const [key] = bundle.jwks.keys;
    for (const changes of [
      { kty: 'RSA' },
      { crv: 'P-384' },
      { alg: 'ES384' },
      { kty: 'oct', k: 'AAAA' },
      { x: 'AAAA' },
    ]) {
      const keys = [{ ...key, kty: 'EC', ...changes }];
      await refused(forge(), { bundle: { ...bundle, jwks: { keys } } });
    }
  });

  it('a token of one trust domain is never verified with the bundle of another, whatever keys that holds', async () => {
    const other: TrustBundle = { ...bundle, trustDomain: 'other.org' };
    await refused(forge(), { bundle: other });
    await refused(withClaims({ sub: 'spiffe://other.org/a' }));
    expect((await verify(withClaims({ sub: 'spiffe://other.org/a' }), { bundle: other })).id.trustDomain).toBe(
      'other.org',
    );
  });

  it('a bundle may hold several keys', async () => {
    const second = generateKeyPair();
    const keys = [jwtKey(second.publicKey, 'second'), ...bundle.jwks.keys];
    const both: TrustBundle = { ...bundle, jwks: { keys } };
    expect((await verify(forge(), { bundle: both })).id).toEqual(id);
    const token = forge({ key: second.privateKey, header: { alg: 'ES256', kid: 'second' } });
    expect((await verify(token, { bundle: both })).id).toEqual(id);
  });
});

describe('a bearer token that may be ours', () => {
  it('is told by its subject alone', () => {
    expect(claimsJwtSvid(forge(), 'example.org')).toBe(true);
    expect(claimsJwtSvid(forge({ key: generateKeyPair().privateKey }), 'example.org')).toBe(true);
    // Without a signature, or with an algorithm that is not ours, it is still ours to refuse.
    expect(claimsJwtSvid(forge({ header: { alg: 'none' } }), 'example.org')).toBe(true);
    expect(claimsJwtSvid(forge(), 'other.org')).toBe(false);
    expect(claimsJwtSvid(withClaims({ sub: 'user-17' }), 'example.org')).toBe(false);
    expect(claimsJwtSvid('opaque', 'example.org')).toBe(false);
    expect(claimsJwtSvid('', 'example.org')).toBe(false);
    expect(claimsJwtSvid('a.b.c', 'example.org')).toBe(false);
    expect(claimsJwtSvid('x'.repeat(1_000_000), 'example.org')).toBe(false);
  });
});

describe('fuzz', () => {
  const accepted = async (token: string): Promise<boolean> => {
    claimsJwtSvid(token, 'example.org');
    try {
      await verify(token);
      return true;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      expect(error.code).toBe('token-refused');
      return false;
    }
  };

  it('any text is refused with token-refused and nothing else', async () => {
    const json = fc.oneof(fc.json(), fc.constant(JSON.stringify(good)), fc.string());
    const part = json.map((text) => Buffer.from(text).toString('base64url'));
    const text = fc.oneof(
      fc.string(),
      fc.array(part, { minLength: 2, maxLength: 4 }).map((parts) => parts.join('.')),
    );
    await fc.assert(
      fc.asyncProperty(text, async (token) => {
        expect(await accepted(token)).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('a token that was changed anywhere is refused', async () => {
    const sample = forge();
    const alphabet = 'ABCabc012-_.=~ \n'.split('');
    const edit = fc.record({
      at: fc.nat({ max: sample.length - 1 }),
      to: fc.constantFrom(...alphabet),
      cut: fc.nat({ max: 2 }),
    });
    await fc.assert(
      fc.asyncProperty(edit, async ({ at, to, cut }) => {
        const token = sample.slice(0, at) + to + sample.slice(at + cut);
        expect(await accepted(token)).toBe(token === sample);
      }),
      { numRuns: 700 },
    );
  });
});
