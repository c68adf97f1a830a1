import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/base/errors.ts';
import {
  encodeJwtBundles,
  encodeJwtSvids,
  encodeValidated,
  encodeWitBundles,
  encodeX509Bundles,
  encodeX509Svids,
  fromJwtSvidRequest,
  fromValidateRequest,
  fromWitSvidRequest,
} from '../../src/wire/workload-api.ts';
import { expectAppError } from '../support/errors.ts';
import { createTestAuthority } from '../support/pki.ts';

const bundles = ['a.test', 'b.test', 'c.test'].map((trustDomain) => createTestAuthority({ trustDomain }).bundle);
const [own] = bundles;
if (own === undefined) throw new Error('no bundle');

describe('messages of the Workload API', () => {
  it('are equal bytes for equal bundles, in whatever order they come: what is the same is not sent again', () => {
    for (const encode of [encodeX509Bundles, encodeJwtBundles, encodeWitBundles]) {
      expect(encode(bundles.toReversed())).toEqual(encode(bundles));
    }
    const svids = (federated: typeof bundles) => encodeX509Svids({ identities: [], bundle: own, federated });
    expect(svids(bundles.toReversed())).toEqual(svids(bundles));
  });

  it('spiffe 35: have hints of at most 1024 bytes, cut where a character ends', () => {
    const sent = encodeJwtSvids([{ spiffeId: 'spiffe://a.test/x', hint: '💡'.repeat(600), token: 't' }]).toString(
      'utf8',
    );
    const hint = /(?:💡)+/u.exec(sent)?.[0] ?? '';
    expect(Buffer.byteLength(hint)).toBeLessThanOrEqual(1024);
    expect(Buffer.byteLength(hint)).toBeGreaterThan(800);
    expect(sent).not.toContain('\ufffd\ufffd');
  });

  it('have the same key bytes for the same key', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const encode = () =>
      encodeX509Svids({
        identities: [{ spiffeId: 'spiffe://a.test/x', hint: '', chain: [], privateKey }],
        bundle: own,
        federated: [],
      });
    expect(encode()).toEqual(encode());
    expect(encode().includes(privateKey.export({ type: 'pkcs8', format: 'der' }))).toBe(true);
  });

  it('carry claims that are nested, but not without end', async () => {
    const nest = (depth: number): unknown => (depth === 0 ? 1 : { a: [nest(depth - 1)] });
    expect(encodeValidated('spiffe://a.test/x', { deep: nest(10) }).length).toBeGreaterThan(0);
    await expectAppError(
      () => encodeValidated('spiffe://a.test/x', { deep: nest(40) }),
      'invalid',
      'The claims of the token are nested too deeply.',
    );
    let list: unknown = 1;
    for (let i = 0; i < 5_000; i++) list = [list];
    await expectAppError(() => encodeValidated('spiffe://a.test/x', { list }), 'invalid', /too deeply/);
  });

  it('fuzz: requests are understood or invalid, nothing else', () => {
    const text = fc.oneof(fc.string(), fc.constantFrom('spiffe://a.test/x', '', 'a'.repeat(2000)));
    fc.assert(
      fc.property(fc.array(text, { maxLength: 20 }), text, text, (audience, spiffeId, svid) => {
        for (const read of [
          () => fromJwtSvidRequest({ audience, spiffeId }),
          () => fromValidateRequest({ audience: spiffeId, svid }),
          () => fromWitSvidRequest({ spiffeId }),
        ]) {
          try {
            read();
          } catch (error) {
            if (!(error instanceof AppError) || error.code !== 'invalid') throw error;
          }
        }
      }),
    );
  });
});
