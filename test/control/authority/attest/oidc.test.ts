import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { Kept } from '../../../../src/control/authority/attest/kept.ts';
import type { Attestation } from '../../../../src/control/authority/attest/method.ts';
import type { OidcProvider } from '../../../../src/control/authority/attest/oidc.ts';
import { OidcAttestor } from '../../../../src/control/authority/attest/oidc.ts';
import { parseJwks } from '../../../../src/control/authority/attest/token.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';
import { testIssuer } from '../../../support/issuer.ts';

const ISSUER = 'https://token.ci.example';
const AUDIENCE = 'writ://example.org';
const claims = {
  sub: 'repo:acme/shop:ref:refs/heads/main',
  aud: AUDIENCE,
  repository: 'acme/shop',
  ref: 'refs/heads/main',
  protected: true,
  run_number: 7,
  groups: ['dev', 'ops'],
};

function attestation(token: string, agent = false): Attestation {
  const challenge = () => Promise.reject(new Error('not asked'));
  return { payload: Buffer.from(token), agent, csr: Buffer.alloc(0), challenge, source: '10.0.0.1' };
}

async function start(change: Partial<OidcProvider> = {}) {
  const clock = new FakeClock();
  const ci = await testIssuer(ISSUER, () => clock.now());
  const published = { jwks: ci.jwks, reads: 0, away: false };
  const keys = new Kept({
    read: async () => {
      published.reads += 1;
      if (published.away) throw new AppError('unavailable', 'away');
      return parseJwks(published.jwks);
    },
    what: 'keys',
    clock,
    logger: silentLogger,
  });
  const provider: OidcProvider = {
    name: 'ci',
    issuer: ISSUER,
    audience: AUDIENCE,
    keys,
    conditions: new Map([['repository', ['acme/shop']]]),
    ...change,
  };
  const attestor = new OidcAttestor({ providers: [provider], clock });
  const attest = async (token: string | Promise<string>) => attestor.attest(attestation(await token));
  return { clock, ci, published, provider, attestor, attest };
}

describe('A token of an OpenID provider', () => {
  it('gives selectors for its texts, truth values, numbers and lists of texts, and nothing that is new each time', async () => {
    const { ci, attest } = await start();
    expect(
      await attest(ci.sign({ ...claims, jti: 'x', nested: { a: 1 }, nothing: null, long: 'x'.repeat(401) })),
    ).toEqual({
      subject: 'oidc:ci:repo:acme/shop:ref:refs/heads/main',
      selectors: [
        `oidc:ci:iss:${ISSUER}`,
        'oidc:ci:sub:repo:acme/shop:ref:refs/heads/main',
        `oidc:ci:aud:${AUDIENCE}`,
        'oidc:ci:repository:acme/shop',
        'oidc:ci:ref:refs/heads/main',
        'oidc:ci:protected:true',
        'oidc:ci:run_number:7',
        'oidc:ci:groups:dev',
        'oidc:ci:groups:ops',
      ],
      canReattest: true,
    });
  });

  it('cannot make one claim look like another by a colon, nor hide anything by control characters', async () => {
    const { ci, attest } = await start();
    const { selectors } = await attest(ci.sign({ ...claims, 'a:b': 'c', a: 'b:c', evil: 'x\ny', 'evil\n': 'x' }));
    expect(selectors.filter((selector) => selector.includes(':a:') || selector.includes('evil'))).toEqual([
      'oidc:ci:a:b:c',
    ]);
  });

  it('is no proof of an agent', async () => {
    const { ci, attestor } = await start();
    const token = await ci.sign(claims);
    await expectAppError(attestor.attest(attestation(token, true)), 'forbidden', /agents need another method/);
  });

  it.each([
    ['another issuer', { iss: 'https://evil.example' }, 'forbidden', /issuer of the token is not one that is trusted/],
    ['no issuer', { iss: undefined }, 'invalid', /not a signed JWT/],
    ['another audience', { aud: 'sts.cloud.example' }, 'forbidden', /not for the audience writ:\/\/example\.org/],
    ['no audience', { aud: undefined }, 'forbidden', /The token has no aud|audience/],
    ['no subject', { sub: undefined }, 'forbidden', /^The token has no sub\.$/],
    ['no expiry', { exp: undefined }, 'forbidden', /^The token has no exp\.$/],
    ['an expiry in the past', { exp: 1_000 }, 'forbidden', /has expired\. Fetch a new one/],
    ['a beginning in the future', { nbf: 4_000_000_000 }, 'forbidden', /not valid here/],
    ['another repository', { repository: 'evil/shop' }, 'forbidden', /The claim repository of the token is not as/],
    ['a repository that begins alike', { repository: 'acme/shop2' }, 'forbidden', /The claim repository/],
    ['no repository', { repository: undefined }, 'forbidden', /The claim repository/],
    ['a repository inside something else', { repository: { 0: 'acme/shop' } }, 'forbidden', /The claim repository/],
  ] as const)('with %s is refused', async (_what, change, code, message) => {
    const { ci, attest } = await start();
    await expectAppError(attest(ci.sign({ ...claims, ...change })), code, message);
  });

  it('demands every condition; a value with * at its end is a beginning, and one of a list is enough', async () => {
    const { ci, attest } = await start({
      conditions: new Map([
        ['ref', ['refs/tags/*', 'refs/heads/main']],
        ['groups', ['ops']],
        ['protected', ['true']],
      ]),
    });
    await attest(ci.sign(claims));
    await attest(ci.sign({ ...claims, ref: 'refs/tags/v1' }));
    await expectAppError(attest(ci.sign({ ...claims, ref: 'refs/heads/main2' })), 'forbidden', /claim ref/);
    await expectAppError(attest(ci.sign({ ...claims, groups: ['dev'] })), 'forbidden', /claim groups/);
    await expectAppError(attest(ci.sign({ ...claims, protected: false })), 'forbidden', /claim protected/);
  });

  it('is not taken with a signature that anybody could make', async () => {
    const { ci, attest } = await start();
    const encode = (value: object | string) =>
      Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
    const body = { ...claims, iss: ISSUER, exp: 4_000_000_000 };
    const none = `${encode({ alg: 'none' })}.${encode(body)}.${encode('x')}`;
    await expectAppError(attest(none), 'forbidden', /not valid here/);
    const input = `${encode({ alg: 'HS256', kid: 'key-1' })}.${encode(body)}`;
    const secret = ci.publicKey.export({ type: 'spki', format: 'pem' });
    const hmac = `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
    await expectAppError(attest(hmac), 'forbidden', /not valid here/);
    const stranger = await testIssuer(ISSUER, () => Date.UTC(2026, 0, 1));
    await expectAppError(attest(stranger.sign(claims)), 'forbidden', /not valid here/);
    await expectAppError(attest(ci.sign(claims, { typ: 'at+jwt' })), 'invalid', /not a signed JWT/);
  });

  it('of several providers with one issuer is taken by the one whose conditions hold', async () => {
    const { clock, ci, provider } = await start();
    const other = { ...provider, name: 'other', conditions: new Map([['repository', ['acme/other']]]) };
    const attestor = new OidcAttestor({ providers: [other, provider], clock });
    expect((await attestor.attest(attestation(await ci.sign(claims)))).subject).toMatch(/^oidc:ci:/);
  });

  it('with a key that is new is taken once the keys have been fetched again, not more often than every 10 s', async () => {
    const { clock, ci, published, attest } = await start();
    await attest(ci.sign(claims));
    const next = await testIssuer(ISSUER, () => clock.now(), 'key-2');
    published.jwks = next.jwks;
    await expectAppError(attest(next.sign(claims)), 'forbidden', /not valid here/);
    expect(published.reads).toBe(1);
    await clock.advance(10_000);
    await attest(next.sign(claims));
    expect(published.reads).toBe(2);
  });

  it('is still taken while the provider is away, with the keys that were good last', async () => {
    const { clock, ci, published, attest } = await start();
    published.away = true;
    await expectAppError(attest(ci.sign(claims)), 'unavailable', 'away');
    published.away = false;
    await clock.advance(10_000);
    await attest(ci.sign(claims));
    published.away = true;
    await clock.advance(3_600_000);
    await attest(ci.sign(claims));
    await attest(ci.sign(claims));
    expect(published.reads).toBe(3);
  });

  it('is refused with a typed error whatever its bytes are', async () => {
    const { ci, attestor } = await start();
    const good = await ci.sign(claims);
    const tokens = fc.oneof(
      fc.string({ maxLength: 200, unit: 'binary' }),
      fc.array(fc.base64String(), { minLength: 3, maxLength: 3 }).map((parts) => parts.join('.')),
      fc
        .tuple(fc.json(), fc.json())
        .map(([header, payload]) =>
          [header, payload, 'x'].map((part) => Buffer.from(part).toString('base64url')).join('.'),
        ),
      // One character of a good one changed: never the last of the signature, whose stray bits mean nothing.
      fc
        .tuple(fc.nat(good.length - 3), fc.constantFrom(...'Aaz09-_.='))
        .filter(([at, by]) => good[at] !== by)
        .map(([at, by]) => `${good.slice(0, at)}${by}${good.slice(at + 1)}`),
    );
    await fc.assert(
      fc.asyncProperty(tokens, async (token) => {
        const outcome = await attestor.attest(attestation(token)).catch((error: unknown) => error);
        expect(outcome).toBeInstanceOf(AppError);
        expect(['invalid', 'forbidden']).toContain((outcome as AppError).code);
      }),
      { numRuns: 500 },
    );
  });
});

describe('A JSON Web Key Set', () => {
  it('needs a key that verifies signatures, and is refused with a typed error whatever it is', async () => {
    for (const bad of ['', '{', '[]', '{}', '{"keys":{}}', '{"keys":[]}', '{"keys":[{"kty":"oct","k":"AAAA"}]}']) {
      await expectAppError(() => parseJwks(bad), 'invalid', /JSON Web Key Set/);
    }
    await expectAppError(() => parseJwks(`{"keys":[${'{},'.repeat(200)}{}]}`), 'invalid', /at most 100/);
    await expectAppError(() => parseJwks(' '.repeat(300_000)), 'invalid', /too large/);
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        try {
          parseJwks(text);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }),
    );
  });
});
