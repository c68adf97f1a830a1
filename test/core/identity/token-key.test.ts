import type { KeyObject } from 'node:crypto';
import { constants, createHmac, generateKeyPairSync, sign } from 'node:crypto';
import type { JWK } from 'jose';
import { SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { verifyJwtSvid } from '../../../src/core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { parseSpiffeBundle } from '../../../src/core/identity/spiffe-bundle.ts';
import { importTokenKey, tokenAlgorithms } from '../../../src/core/identity/token-key.ts';
import { verifyWitSvid } from '../../../src/core/identity/wit-svid.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';

const now = Date.UTC(2026, 5, 1, 12, 0, 0);
const subject = 'spiffe://partner.example/billing';
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const pairs = {
  rsa,
  p256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  p521: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
};
type Name = keyof typeof pairs;
const names = Object.keys(pairs) as Name[];

const publicJwk = (key: KeyObject) => key.export({ format: 'jwk' }) as JWK;
const jwkOf = (name: Name, more: object = {}): JWK => ({
  ...publicJwk(pairs[name].publicKey),
  kid: name,
  use: 'jwt-svid',
  ...more,
});
const bundleOf = (...keys: readonly JWK[]): TrustBundle => ({
  trustDomain: 'partner.example',
  roots: [],
  jwks: { keys: [...keys] },
  sequence: 1,
});
/** As a SPIRE server publishes its keys: without `alg`. */
const partner = bundleOf(...names.map((name) => jwkOf(name)));

const claims = { sub: subject, aud: ['us'], iat: now / 1000, exp: now / 1000 + 300 };
const signed = (alg: string, name: Name) =>
  new SignJWT(claims).setProtectedHeader({ alg, kid: name, typ: 'JWT' }).sign(pairs[name].privateKey);
const verify = (token: string, bundle: TrustBundle) => verifyJwtSvid(token, { audiences: ['us'], bundle, now });
const refused = async (token: string, bundle: TrustBundle, why?: RegExp) => {
  const error = await expectAppError(verify(token, bundle), 'token-refused', 'The JWT-SVID is not valid here.');
  if (why !== undefined) expect((error.cause as Error).message).toMatch(why);
};

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
/** A token with any header, signed in any way. */
function forge(header: object, signer: (input: Buffer) => Buffer): string {
  const input = `${encode(header)}.${encode(claims)}`;
  return `${input}.${signer(Buffer.from(input)).toString('base64url')}`;
}

const signers: readonly (readonly [alg: string, key: Name])[] = [
  ['RS256', 'rsa'],
  ['RS384', 'rsa'],
  ['RS512', 'rsa'],
  ['PS256', 'rsa'],
  ['PS384', 'rsa'],
  ['PS512', 'rsa'],
  ['ES256', 'p256'],
  ['ES384', 'p384'],
  ['ES512', 'p521'],
];

describe('a token of a trust domain with other keys than ours', () => {
  it.each(signers)('spiffe 20: signed by %s is accepted, with and without an alg in the key', async (alg, name) => {
    const token = await signed(alg, name);
    expect((await verify(token, partner)).id.uri).toBe(subject);
    expect((await verify(token, bundleOf(jwkOf(name, { alg })))).id.uri).toBe(subject);
  });

  it.each(signers)('spiffe 20: signed by %s goes with no key that names another algorithm', async (alg, name) => {
    const token = await signed(alg, name);
    for (const [other] of signers.filter(([each]) => each !== alg)) {
      await refused(token, bundleOf(jwkOf(name, { alg: other })));
    }
  });

  it('spiffe 20: these nine are all', () => {
    expect([...tokenAlgorithms].sort()).toEqual(signers.map(([alg]) => alg).sort());
  });

  it('spiffe 20: is accepted after its bundle was read as a document, as federation does', async () => {
    const { jwks, ignored } = parseSpiffeBundle(JSON.stringify(partner.jwks), 'partner.example');
    expect(ignored).toEqual([]);
    for (const [alg, name] of signers) {
      expect((await verify(await signed(alg, name), { ...partner, jwks })).id.uri).toBe(subject);
    }
  });

  it('spiffe 21: has a kid, whatever it is signed by', async () => {
    for (const [alg, name] of signers) {
      const token = await new SignJWT(claims).setProtectedHeader({ alg }).sign(pairs[name].privateKey);
      await refused(token, bundleOf(jwkOf(name)), /kid/);
    }
  });

  it('spiffe 53: the same goes for WIT-SVIDs, and for the keys in them', async () => {
    for (const [alg, name] of signers) {
      const bundle = bundleOf(jwkOf(name, { use: 'wit-svid' }));
      const jwk = { ...publicJwk(pairs[name].publicKey), alg };
      const make = (cnf: object) =>
        new SignJWT({ sub: subject, exp: claims.exp, cnf: { jwk: cnf } })
          .setProtectedHeader({ alg, kid: name, typ: 'wit+jwt' })
          .sign(pairs[name].privateKey);
      const read = await verifyWitSvid(await make(jwk), { bundle, now });
      expect(read.algorithm).toBe(alg);
      expect(read.key.equals(pairs[name].publicKey)).toBe(true);
      for (const bad of ['HS256', 'none', 'EdDSA', undefined, 1]) {
        await expectAppError(verifyWitSvid(await make({ ...jwk, alg: bad }), { bundle, now }), 'token-refused');
      }
    }
  });
});

describe('algorithm confusion', () => {
  const rsaBundle = bundleOf(jwkOf('rsa'));
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };

  it('a public key is no secret: HMAC with any spelling of it is refused', async () => {
    for (const name of names) {
      const { publicKey } = pairs[name];
      for (const secret of [
        publicKey.export({ format: 'pem', type: 'spki' }),
        publicKey.export({ format: 'der', type: 'spki' }),
        JSON.stringify(publicJwk(publicKey)),
        String(publicJwk(publicKey).n ?? publicJwk(publicKey).x),
      ]) {
        for (const [alg, hash] of [
          ['HS256', 'sha256'],
          ['HS384', 'sha384'],
          ['HS512', 'sha512'],
        ] as const) {
          const token = forge({ alg, kid: name }, (input) => createHmac(hash, secret).update(input).digest());
          await refused(token, partner, /^Token: alg$/);
        }
        // An allowed name over the same bytes.
        for (const [alg, key] of signers.filter(([, each]) => each === name)) {
          await refused(
            forge({ alg, kid: key }, (input) => createHmac('sha256', secret).update(input).digest()),
            partner,
          );
        }
      }
    }
  });

  it('a symmetric key in a bundle verifies nothing', async () => {
    const oct = { kty: 'oct', k: Buffer.alloc(32, 1).toString('base64url'), kid: 'oct', use: 'jwt-svid' };
    for (const [alg, more] of [
      ['HS256', {}],
      ['HS256', { alg: 'HS256' }],
      ['ES256', { crv: 'P-256' }],
      ['RS256', { alg: 'RS256' }],
    ] as const) {
      const token = forge({ alg, kid: 'oct' }, (input) =>
        createHmac('sha256', Buffer.alloc(32, 1)).update(input).digest(),
      );
      await refused(token, bundleOf({ ...oct, ...more }));
    }
    expect(parseSpiffeBundle(JSON.stringify({ keys: [oct] }), 'partner.example').jwks.keys).toEqual([]);
  });

  it('an Ed25519 key in a bundle verifies nothing, and EdDSA is refused', async () => {
    const ed = generateKeyPairSync('ed25519');
    const jwk = { ...publicJwk(ed.publicKey), kid: 'ed', use: 'jwt-svid' };
    for (const alg of ['EdDSA', 'Ed25519', 'ES256']) {
      await refused(
        forge({ alg, kid: 'ed' }, (input) => sign(null, input, ed.privateKey)),
        bundleOf(jwk),
      );
    }
  });

  it('a header for a curve is refused with an RSA key, and one for RSA with a curve', async () => {
    for (const alg of ['ES256', 'ES384', 'ES512']) {
      const token = forge({ alg, kid: 'rsa' }, (input) => sign('sha256', input, rsa.privateKey));
      await refused(token, rsaBundle, /alg does not go with the key/);
    }
    for (const name of ['p256', 'p384', 'p521'] as const) {
      for (const [alg] of signers.filter(([, key]) => key !== name)) {
        const key = { key: pairs[name].privateKey, dsaEncoding: 'ieee-p1363' } as const;
        const token = forge({ alg, kid: name }, (input) => sign('sha256', input, key));
        await refused(token, partner, /alg does not go with the key/);
      }
    }
  });

  it('a signature with one padding is refused under the name of the other', async () => {
    const plain = forge({ alg: 'PS256', kid: 'rsa' }, (input) => sign('sha256', input, rsa.privateKey));
    await refused(plain, rsaBundle, /signature/);
    const padded = forge({ alg: 'RS256', kid: 'rsa' }, (input) =>
      sign('sha256', input, { key: rsa.privateKey, ...pss }),
    );
    await refused(padded, rsaBundle, /signature/);
    const right = forge({ alg: 'PS256', kid: 'rsa' }, (input) =>
      sign('sha256', input, { key: rsa.privateKey, ...pss }),
    );
    expect((await verify(right, rsaBundle)).id.uri).toBe(subject);
  });

  it('a signature with one hash is refused under the name of another', async () => {
    const token = forge({ alg: 'RS512', kid: 'rsa' }, (input) => sign('sha256', input, rsa.privateKey));
    await refused(token, rsaBundle, /signature/);
  });

  it('keys of our own trust domain verify ES256 alone', async () => {
    const { bundle, jwt } = createTestAuthority({ now });
    const own = { ...claims, sub: 'spiffe://example.org/ns/shop/sa/web' };
    const token = (alg: string, hash: string) => {
      const input = `${encode({ alg, kid: jwt.kid })}.${encode(own)}`;
      const key = { key: jwt.privateKey, dsaEncoding: 'ieee-p1363' } as const;
      return `${input}.${sign(hash, Buffer.from(input), key).toString('base64url')}`;
    };
    expect((await verify(token('ES256', 'sha256'), bundle)).id.uri).toBe(own.sub);
    for (const [alg] of signers.filter(([each]) => each !== 'ES256')) {
      await refused(token(alg, `sha${alg.slice(2)}`), bundle, /alg does not go with the key/);
    }
  });
});

describe('a key out of a bundle', () => {
  it.each([1024, 2047])('RSA with %i bits is too weak, for tokens and in documents', async (modulusLength) => {
    const weak = generateKeyPairSync('rsa', { modulusLength });
    const jwk = { ...publicJwk(weak.publicKey), kid: 'weak', use: 'jwt-svid' };
    for (const alg of ['RS256', 'PS256']) {
      const padding = alg === 'PS256' ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : {};
      const token = forge({ alg, kid: 'weak' }, (input) => sign('sha256', input, { key: weak.privateKey, ...padding }));
      await refused(token, bundleOf(jwk), new RegExp(`RSA with ${modulusLength} bits`));
    }
    const { jwks, ignored } = parseSpiffeBundle(JSON.stringify({ keys: [jwk] }), 'partner.example');
    expect(jwks.keys).toEqual([]);
    expect(ignored).toHaveLength(1);
  });

  it('RSA with a small exponent is refused', async () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 });
    await expectAppError(() => importTokenKey(publicJwk(small.publicKey)), 'invalid', /public exponent/);
  });

  it('a point off its curve, another curve and another type are refused', async () => {
    for (const name of ['p256', 'p384', 'p521'] as const) {
      const { x, y } = publicJwk(pairs[name].publicKey);
      await expectAppError(() => importTokenKey(jwkOf(name, { x: y, y: x })), 'invalid', /verify with/);
    }
    const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    await expectAppError(() => importTokenKey(publicJwk(koblitz.publicKey)), 'invalid', /neither RSA nor on P-256/);
    await expectAppError(() => importTokenKey({ kty: 'OKP', crv: 'Ed25519', x: 'AAAA' }), 'invalid', /neither RSA/);
    await expectAppError(() => importTokenKey({ kty: 'RSA' }), 'invalid', /verify with/);
  });

  it('a document keeps P-521 and RSA keys with their alg, and leaves out one whose alg does not go with the key', () => {
    const keys = [
      jwkOf('p521', { alg: 'ES512' }),
      jwkOf('rsa', { alg: 'PS384' }),
      jwkOf('p256', { alg: 'ES384', kid: 'a' }),
      jwkOf('rsa', { alg: 'HS256', kid: 'b' }),
      jwkOf('rsa', { alg: 'RSA-OAEP', kid: 'c' }),
      jwkOf('p384', { alg: 5, kid: 'd' }),
    ];
    const read = parseSpiffeBundle(JSON.stringify({ keys }), 'partner.example');
    expect(read.jwks.keys).toEqual(keys.slice(0, 2));
    expect(read.ignored).toEqual([
      ...[2, 3, 4].map((at) => expect.stringContaining(`keys[${at}]: `)),
      'keys[5]: The key is left out: its "alg" is not a text.',
    ]);
  });

  it('is used without its private half, should a bundle carry that', () => {
    const jwk = generateKeyPair().privateKey.export({ format: 'jwk' }) as JWK;
    expect(importTokenKey(jwk).key.type).toBe('public');
    expect(importTokenKey(rsa.privateKey.export({ format: 'jwk' }) as JWK).key.type).toBe('public');
  });
});
