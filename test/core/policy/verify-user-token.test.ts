import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JwtRule } from '../../../src/core/policy/request-authentication.ts';
import type { UserTokenRule } from '../../../src/core/policy/user-token-rules.ts';
import { compileUserTokenRules } from '../../../src/core/policy/user-token-rules.ts';
import {
  CLOCK_LEEWAY_SECONDS,
  claimedIssuer,
  MAX_USER_TOKEN_BYTES,
  verifyUserToken,
} from '../../../src/core/policy/verify-user-token.ts';
import { authentication, base64url, EndUsers, signedWithHmac } from '../../support/end-users.ts';
import { expectAppError } from '../../support/errors.ts';

const users = new EndUsers();
const now = Date.now();
const seconds = Math.floor(now / 1000);

function compiled(rule: JwtRule): UserTokenRule {
  const by = compileUserTokenRules([authentication(rule)])?.places[0]?.rules[0];
  if (by === undefined) throw new Error('no rule');
  return by;
}

const by = compiled(users.rule({ audiences: ['shop', 'api'] }));

async function refused(token: string, rule = by, at = now): Promise<void> {
  const error = await expectAppError(verifyUserToken(token, rule, at), 'token-refused', 'The token is not valid here.');
  expect(error.cause).toBeInstanceOf(Error);
}

test('rule 49: a token of the issuer, for one of the audiences, is good', async () => {
  for (const aud of ['shop', ['other', 'api']]) {
    const token = await verifyUserToken(users.token({ aud }), by, now);
    expect(token).toMatchObject({ issuer: 'https://accounts.example', subject: 'alice', claims: { aud } });
  }
});

test('rule 49: without audiences the audience is not looked at', async () => {
  const any = compiled(users.rule());
  expect((await verifyUserToken(users.token({ aud: undefined }), any, now)).subject).toBe('alice');
  expect((await verifyUserToken(users.token({ aud: 'somebody else' }), any, now)).subject).toBe('alice');
});

test('an RSA key verifies what it signed', async () => {
  const rsa = new EndUsers({ alg: 'RS256' });
  expect((await verifyUserToken(rsa.token(), compiled(rsa.rule()), now)).subject).toBe('alice');
});

describe('time, by a clock that is given', () => {
  test('a token ends at exp, with a minute for clocks that differ', async () => {
    const token = users.token({ exp: seconds });
    await verifyUserToken(token, by, (seconds + CLOCK_LEEWAY_SECONDS - 1) * 1000);
    await refused(token, by, (seconds + CLOCK_LEEWAY_SECONDS) * 1000);
  });

  test('a token begins at nbf, with a minute for clocks that differ', async () => {
    const token = users.token({ nbf: seconds + 1000, exp: seconds + 2000 });
    await refused(token, by, (seconds + 1000 - CLOCK_LEEWAY_SECONDS - 1) * 1000);
    await verifyUserToken(token, by, (seconds + 1000 - CLOCK_LEEWAY_SECONDS) * 1000);
  });

  test.each([[undefined], ['tomorrow'], [null]])(
    'a token that ends never, or at no time (%j), is refused',
    async (exp) => {
      await refused(users.token({ exp }));
    },
  );
});

describe('hostile tokens are refused', () => {
  const payload = { iss: users.issuer, sub: 'admin', aud: 'shop', exp: seconds + 300 };
  const pem = users.publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const stranger = new EndUsers();
  const cases: Record<string, string> = {
    'alg none with an empty signature': `${base64url('{"alg":"none"}')}.${base64url(JSON.stringify(payload))}.`,
    'alg none with some signature': `${base64url('{"alg":"none"}')}.${base64url(JSON.stringify(payload))}.AAAA`,
    'alg None in another case': users.token({}, { alg: 'nOnE' }),
    'HS256 with the public key as its secret': signedWithHmac({ alg: 'HS256', kid: 'k1' }, payload, pem),
    'HS256 with the key set as its secret': signedWithHmac({ alg: 'HS256', kid: 'k1' }, payload, users.jwks),
    'RS256 with a key that is for ES256': users.token({}, { alg: 'RS256' }),
    'ES384 with a key on P-256': users.token({}, { alg: 'ES384' }),
    'a key of somebody else under the same kid': stranger.token(),
    'a kid that is not there': users.token({}, { kid: 'k2' }),
    'a kid that is a path': users.token({}, { kid: '../../dev/null' }),
    'a kid that is no text': users.token({}, { kid: { $ne: '' } }),
    'a kid from the prototype': users.token({}, { kid: '__proto__' }),
    'a key that it brings along': stranger.token({}, { jwk: stranger.jwk }),
    'a URL of keys that it brings along': stranger.token({}, { jku: 'https://evil.example/keys' }),
    'crit, understood by nobody': users.token({}, { crit: ['exp'] }),
    'crit with b64': users.token({}, { crit: ['b64'], b64: false }),
    'b64 false without crit': users.token({}, { b64: false }),
    'an encrypted token': users.token({}, { enc: 'A256GCM' }),
    'a compressed token': users.token({}, { zip: 'DEF' }),
    'another issuer': users.token({ iss: 'https://evil.example' }),
    'an issuer that only begins alike': users.token({ iss: `${users.issuer}.evil.example` }),
    'an issuer in a list': users.token({ iss: [users.issuer] }),
    'no issuer': users.token({ iss: undefined }),
    'another audience': users.token({ aud: 'bank' }),
    'an audience that only contains ours': users.token({ aud: 'shop2' }),
    'an audience of another type': users.token({ aud: { shop: true } }),
    'no audience': users.token({ aud: undefined }),
    'a subject that is no text': users.token({ sub: 7 }),
    'a header with a member twice': users.raw('{"alg":"ES256","alg":"none","kid":"k1"}', JSON.stringify(payload)),
    'a payload with a member twice': users.raw(
      '{"alg":"ES256","kid":"k1"}',
      `{"iss":"${users.issuer}","sub":"bob","sub":"admin","aud":"shop","exp":${seconds + 300}}`,
    ),
    'a payload that is no object': users.raw('{"alg":"ES256","kid":"k1"}', '[1]'),
    'a payload that is no JSON': users.raw('{"alg":"ES256","kid":"k1"}', '{"iss":'),
    'a payload that is nested deeply': users.raw(
      '{"alg":"ES256","kid":"k1"}',
      `{"iss":"${users.issuer}","x":${'['.repeat(100)}${']'.repeat(100)}}`,
    ),
    'another spelling of its signature': `${users.token()}=`,
    'four parts': `${users.token()}.AAAA`,
    'a token longer than the limit': users.token({ x: 'y'.repeat(MAX_USER_TOKEN_BYTES) }),
    'nothing but dots': '..',
    nothing: '',
  };
  test.each(Object.entries(cases))('%s', async (_, token) => {
    await refused(token);
  });

  test('a signature over other bytes', async () => {
    const [header, , signature] = users.token().split('.');
    await refused(`${header}.${base64url(JSON.stringify(payload))}.${signature}`);
  });

  test('keys that could not be had: no token of the issuer is good', async () => {
    await refused(users.token(), compiled(users.rule({ jwks: '' })));
  });
});

describe('a token without a kid', () => {
  test('is tried with the keys of the issuer, but not with many', async () => {
    const others = Array.from({ length: 12 }, (_, i) => new EndUsers({ kid: `other${i}` }));
    const withOthers = (before: number) =>
      compiled(
        users.rule({
          jwks: JSON.stringify({
            keys: [...others.slice(0, before), users, ...others.slice(before)].map((each) => each.jwk),
          }),
        }),
      );
    const token = users.token({}, { kid: undefined });
    expect((await verifyUserToken(token, withOthers(7), now)).subject).toBe('alice');
    await refused(token, withOthers(8));
  });

  test('a key without a kid is tried with every token', async () => {
    const { kid: _, ...jwk } = users.jwk;
    const rule = compiled(users.rule({ jwks: JSON.stringify({ keys: [jwk] }) }));
    expect((await verifyUserToken(users.token({}, { kid: 'whatever' }), rule, now)).subject).toBe('alice');
  });
});

test('of a good token, every change of a byte is refused, and never is anything else thrown', async () => {
  const good = users.token();
  const place = fc.nat({ max: good.length - 1 });
  const byte = fc.constantFrom(...'ABCxyz019-_.=+/ \0{}'.split(''));
  await fc.assert(
    fc.asyncProperty(place, byte, fc.boolean(), async (at, char, insert) => {
      const bad = good.slice(0, at) + char + good.slice(insert ? at : at + 1);
      if (bad === good) return;
      claimedIssuer(bad);
      await expectAppError(verifyUserToken(bad, by, now), 'token-refused');
    }),
    { numRuns: 400, seed: 49 },
  );
});

test('any text is refused, and names an issuer or none', async () => {
  const part = fc.oneof(fc.base64String(), fc.json().map(base64url), fc.string());
  const text = fc.oneof(
    fc.string(),
    fc.array(part, { maxLength: 5 }).map((parts) => parts.join('.')),
  );
  await fc.assert(
    fc.asyncProperty(text, async (token) => {
      const issuer = claimedIssuer(token);
      if (issuer !== undefined) expect(typeof issuer).toBe('string');
      await expectAppError(verifyUserToken(token, by, now), 'token-refused');
    }),
    { numRuns: 500, seed: 50 },
  );
});
