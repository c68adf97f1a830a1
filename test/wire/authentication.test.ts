import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../src/base/errors.ts';
import { canonicalJwks } from '../../src/core/policy/jwks.ts';
import type { PeerModes } from '../../src/core/policy/peer-authentication.ts';
import type { JwtRule } from '../../src/core/policy/request-authentication.ts';
import { featuresOf } from '../../src/core/policy/snapshot.ts';
import { decodeSnapshotContent, encodeSnapshotContent } from '../../src/wire/snapshot-content.ts';
import { authentication, EndUsers } from '../support/end-users.ts';
import { expectAppError } from '../support/errors.ts';
import { createTestAuthority } from '../support/pki.ts';

const users = new EndUsers();
const { bundle } = createTestAuthority();
const base = { policies: [], services: [], bundle };
const full: JwtRule = users.rule({
  jwks: canonicalJwks(users.jwks),
  audiences: ['a', 'b'],
  timeoutMs: 0,
  fromHeaders: [{ name: 'x-token', prefix: 'Jwt ' }],
  fromParams: ['t'],
  fromCookies: ['session'],
  forwardOriginalToken: true,
  outputPayloadToHeader: 'x-payload',
  outputClaims: [{ header: 'x-sub', claim: 'sub' }],
  spaceDelimitedClaims: ['roles'],
});
const modes: PeerModes = {
  mode: 'PERMISSIVE',
  ports: new Map([
    [80, 'STRICT' as const],
    [9090, 'STRICT' as const],
  ]),
};

function encoded(rule: JwtRule): Buffer {
  return encodeSnapshotContent({ ...base, requestAuthentications: [authentication(rule)] });
}

test('every field of a rule, and every mode, arrives as it was sent', () => {
  const content = { ...base, requestAuthentications: [authentication(full)], peerAuthentication: modes };
  const read = decodeSnapshotContent(encodeSnapshotContent(content));
  expect(read.requestAuthentications).toEqual([authentication(full)]);
  expect(read.peerAuthentication).toEqual(modes);
  expect(featuresOf(content)).toEqual(['request-authentication', 'peer-authentication']);
  expect(featuresOf(base)).toEqual([]);
});

test('ports in any order are the same bytes', () => {
  const turned = { ...modes, ports: new Map([...modes.ports].reverse()) };
  const bytes = (peerAuthentication: PeerModes) => encodeSnapshotContent({ ...base, peerAuthentication });
  expect(bytes(turned).equals(bytes(modes))).toBe(true);
});

test('a rule whose keys are not known yet travels without any', () => {
  const { jwks: _, ...rule } = users.rule({ jwksUri: 'https://accounts.example/keys', timeoutMs: 0 });
  const [read] = decodeSnapshotContent(encoded(rule)).requestAuthentications ?? [];
  expect(read?.rules[0]).toMatchObject({ jwks: '' });
  expect(read?.rules[0]).not.toHaveProperty('jwksUri');
});

describe('what a sidecar must not half understand is refused whole', () => {
  test.each<[string, Partial<JwtRule>, RegExp]>([
    ['no issuer', { issuer: '' }, /rules\[0\]\.issuer is missing/],
    ['keys that are none', { jwks: '{"keys":[]}' }, /jwks is no set of keys: It holds no key/],
    ['a secret', { jwks: '{"keys":[{"kty":"oct","k":"AA"}]}' }, /symmetric key/],
    ['a token in Host', { fromHeaders: [{ name: 'host', prefix: '' }] }, /no field for tokens/],
    [
      'a claim in Authorization',
      { outputClaims: [{ header: 'authorization', claim: 'sub' }] },
      /no name of such a place/,
    ],
    ['a payload in what only sidecars say', { outputPayloadToHeader: 'x-forwarded-client-cert' }, /no name of such/],
    ['a field with a line break', { outputClaims: [{ header: 'a\r\nb', claim: 'sub' }] }, /no name of such a place/],
    ['an empty cookie', { fromCookies: [''] }, /no name of such a place/],
    ['an empty audience, which any token might have', { audiences: [''] }, /audiences\[0\] is missing/],
  ])('%s', async (_, change, message) => {
    await expectAppError(() => decodeSnapshotContent(encoded({ ...full, ...change })), 'invalid', message);
  });

  test('no rules, which would take every token for somebody else’s business', async () => {
    const bytes = encodeSnapshotContent({ ...base, requestAuthentications: [authentication()] });
    await expectAppError(() => decodeSnapshotContent(bytes), 'invalid', /rules is missing/);
  });
});

test('of a good snapshot, a change of a byte is another one that is understood, or `invalid`', () => {
  const good = encodeSnapshotContent({
    ...base,
    requestAuthentications: [authentication(full)],
    peerAuthentication: modes,
  });
  fc.assert(
    fc.property(fc.nat({ max: good.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bad = Buffer.from(good);
      bad.writeUInt8(bad.readUInt8(at) ^ flip, at);
      try {
        const { peerAuthentication } = decodeSnapshotContent(bad);
        for (const mode of [peerAuthentication?.mode ?? 'STRICT', ...(peerAuthentication?.ports.values() ?? [])]) {
          expect(['STRICT', 'PERMISSIVE']).toContain(mode);
        }
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        expect(error.code).toBe('invalid');
      }
    }),
    { numRuns: 1500, seed: 51 },
  );
});
