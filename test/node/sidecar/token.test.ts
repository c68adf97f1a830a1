import { describe, expect, it } from 'vitest';
import { TokenVerifier } from '../../../src/node/sidecar/token.ts';
import { FakeClock } from '../../support/clock.ts';

const verifier = new TokenVerifier({ audiences: ['orders.shop.mesh'], clock: new FakeClock() });

function unsigned(sub: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part({ sub })}.`;
}

const ours = unsigned('spiffe://example.org/ns/shop/sa/web');

describe('the Authorization of a caller', () => {
  it.each([`Bearer ${ours}`, `bearer\t${ours}`, `BEARER  ${ours} `, `DPoP ${ours}`, ours, `Bearer x, Bearer ${ours}`])(
    'is ours to verify when a token in it names a subject of ours, however it is spelt: %#',
    (authorization) => {
      expect(verifier.find(authorization, 'example.org')).toBe(ours);
    },
  );

  it.each([undefined, '', 'Basic dXNlcjpwYXNz', 'Bearer opaque', `Bearer ${unsigned('user-17')}`])(
    "is the application's own business otherwise: %#",
    (authorization) => {
      expect(verifier.find(authorization, 'example.org')).toBeUndefined();
    },
  );

  it('of another trust domain is not ours', () => {
    expect(verifier.find(`Bearer ${ours}`, 'other.org')).toBeUndefined();
  });
});
