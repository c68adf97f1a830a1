import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { spiffeBundle } from '../../../src/core/identity/bundle.ts';
import { generateKeyPair } from '../../../src/core/identity/keys.ts';
import { MAX_SPIFFE_BUNDLE_BYTES, parseSpiffeBundle } from '../../../src/core/identity/spiffe-bundle.ts';
import { expectAppError } from '../../support/errors.ts';
import { createTestAuthority } from '../../support/pki.ts';
import { accepts, mutationsOf } from './mutate.ts';

const partner = createTestAuthority({ trustDomain: 'partner.example' });
const other = createTestAuthority({ trustDomain: 'other.example' });
const document = spiffeBundle({ ...partner.bundle, sequence: 12 });
const [root] = document.keys;
const jwtKey = document.keys[1];

function parse(value: unknown) {
  return parseSpiffeBundle(JSON.stringify(value), 'partner.example');
}

describe('a SPIFFE bundle document', () => {
  it('spiffe 43: what Writ serves is read back, with its sequence and refresh hint', () => {
    const read = parse(document);
    expect(read.roots).toEqual(partner.bundle.roots);
    expect(read.jwks.keys).toEqual(partner.bundle.jwks.keys);
    expect(read).toMatchObject({ sequence: 12n, refreshHintSeconds: 300, ignored: [] });
  });

  it('spiffe 43: unknown top-level parameters are neither required nor in the way', () => {
    expect(parse({ ...document, 'x-vendor': { a: [1] } }).roots).toHaveLength(1);
    expect(parse({ keys: document.keys })).toMatchObject({ sequence: undefined, refreshHintSeconds: undefined });
  });

  it('spiffe 43: a sequence of 64 bits is read to the last digit', () => {
    const text = JSON.stringify(document).replace('"spiffe_sequence":12', '"spiffe_sequence":18446744073709551615');
    expect(parseSpiffeBundle(text, 'partner.example').sequence).toBe(18_446_744_073_709_551_615n);
  });

  it.each(['"1"', '1.5', '-1', 'null', 'true', '18446744073709551616', '1e400'])(
    'spiffe 43: a sequence that reads %s is no sequence, and the document is refused',
    async (value) => {
      const text = `{"keys":[],"spiffe_sequence":${value}}`;
      await expectAppError(
        () => parseSpiffeBundle(text, 'partner.example'),
        'invalid',
        /spiffe_sequence is not an integer/,
      );
    },
  );

  it.each([0, -5, 1.5, '300', null])('spiffe 44: a refresh hint of %j is none', (hint) => {
    expect(parse({ ...document, spiffe_refresh_hint: hint }).refreshHintSeconds).toBeUndefined();
  });

  it('spiffe 45: keys may be empty, and must be there', async () => {
    expect(parse({ keys: [] })).toMatchObject({ roots: [], jwks: { keys: [] } });
    for (const value of [{}, { keys: null }, { keys: {} }, { keys: 'x' }, [], null, 1]) {
      await expectAppError(() => parse(value), 'invalid', /no array "keys"|not a JSON object/);
    }
  });

  it('spiffe 45: a key of unknown kty or use, or of none, is left out, and the others stay', () => {
    const odd = [
      { ...jwtKey, kid: 'a', use: 'sig' },
      { ...jwtKey, kid: 'b', use: undefined },
      { ...jwtKey, kid: 'c', kty: 'OKP' },
      { ...jwtKey, kid: 'd', kty: undefined },
      { ...jwtKey, kid: undefined },
      'text',
    ];
    const read = parse({ ...document, keys: [...odd, ...document.keys] });
    expect(read.jwks.keys.map((key) => key.kid)).toEqual([partner.jwt.kid]);
    expect(read.roots).toHaveLength(1);
    expect(read.ignored).toHaveLength(odd.length);
    expect(read.ignored[0]).toBe('keys[0]: The key is left out: its "use" is not known here.');
  });

  it('spiffe 18: without x5c a key is left out, and of several certificates the first counts', () => {
    const two = { ...root, x5c: [...(root?.x5c ?? []), ...(spiffeBundle(other.bundle).keys[0]?.x5c ?? [])] };
    const read = parse({ keys: [{ ...root, x5c: undefined }, { ...root, x5c: [] }, two] });
    expect(read.roots).toEqual(partner.bundle.roots);
    expect(read.ignored).toHaveLength(2);
  });

  it('spiffe 48: a root that says it is of another trust domain is left out', () => {
    const read = parse({ keys: [...spiffeBundle(other.bundle).keys.slice(0, 1), root] });
    expect(read.roots).toEqual(partner.bundle.roots);
    expect(read.ignored[0]).toMatch(/not that of the leaf's trust domain/);
  });

  it('a leaf is no root, and a certificate that is damaged is left out', () => {
    const leaf = partner.issue('spiffe://partner.example/ns/x/sa/y').chain[0]?.toString('base64');
    const keys = [leaf, '!!', 'AAAA', ''].map((value) => ({ ...root, x5c: [value] }));
    expect(parse({ keys })).toMatchObject({
      roots: [],
      ignored: [/authority/, /base64/, /./, /base64/].map((m) => expect.stringMatching(m)),
    });
  });

  it('only the public part of a key is kept', () => {
    const jwk = generateKeyPair().privateKey.export({ format: 'jwk' });
    const read = parse({ keys: [{ ...jwk, kid: 'leaked', use: 'jwt-svid' }] });
    expect(Object.keys(read.jwks.keys[0] ?? {}).sort()).toEqual(['crv', 'kid', 'kty', 'use', 'x', 'y']);
  });

  it('a weak key, one off its curve and a second of the same kid are left out', () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' });
    const keys = [
      { ...weak, kid: 'weak', use: 'jwt-svid' },
      { ...jwtKey, kid: 'off', x: jwtKey?.y },
      jwtKey,
      { ...jwtKey, use: 'wit-svid' },
    ];
    const read = parse({ keys });
    expect(read.jwks.keys).toHaveLength(1);
    expect(read.ignored).toHaveLength(3);
  });

  it('spiffe 46: a key that comes twice in the JSON is refused', async () => {
    const text = JSON.stringify(document).replace('{', '{"keys":[],');
    await expectAppError(() => parseSpiffeBundle(text, 'partner.example'), 'invalid', /a key comes twice/);
  });

  it('a document that is too long, has too many keys or is not UTF-8 is refused', async () => {
    const long = ' '.repeat(MAX_SPIFFE_BUNDLE_BYTES + 1);
    await expectAppError(() => parseSpiffeBundle(long, 'partner.example'), 'invalid', /longer than 524288 bytes/);
    await expectAppError(
      () => parse({ keys: Array.from({ length: 257 }, () => ({})) }),
      'invalid',
      /more than 256 keys/,
    );
    const bytes = Buffer.from([0x7b, 0xff, 0x7d]);
    await expectAppError(() => parseSpiffeBundle(bytes, 'partner.example'), 'invalid', /not UTF-8/);
  });

  it('fuzz: a damaged document is read or refused', () => {
    const sample = Buffer.from(JSON.stringify(document));
    fc.assert(
      fc.property(mutationsOf(sample), (bytes) => {
        accepts(() => parseSpiffeBundle(bytes, 'partner.example'), 'invalid');
      }),
      { numRuns: 400 },
    );
  });

  it('fuzz: any JSON is read or refused', () => {
    const key = fc.record(
      {
        kty: fc.constantFrom('EC', 'RSA', 'x', 1, null),
        use: fc.constantFrom('x509-svid', 'jwt-svid', 'wit-svid', 'sig', 7),
        kid: fc.oneof(fc.string(), fc.jsonValue()),
        x5c: fc.oneof(fc.array(fc.base64String()), fc.jsonValue()),
        crv: fc.constantFrom('P-256', 'P-384', 'secp256k1', 3),
        x: fc.oneof(fc.base64String(), fc.jsonValue()),
        y: fc.base64String(),
        n: fc.base64String(),
        e: fc.constantFrom('AQAB', '', 'Aw'),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.record({ keys: fc.array(fc.oneof(key, fc.jsonValue())) }), (value) => {
        expect(parse(value).roots).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});
