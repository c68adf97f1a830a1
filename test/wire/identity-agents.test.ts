import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/base/errors.ts';
import { MAX_CSR_BYTES } from '../../src/core/identity/csr.ts';
import * as sign from '../../src/wire/identity-sign.ts';
import * as watch from '../../src/wire/identity-watch.ts';
import { identityService } from '../../src/wire/loader.ts';
import { mutationsOf } from '../core/identity/mutate.ts';
import { expectAppError } from '../support/errors.ts';

/** What agents and the control plane say to each other, wrong in every way: `invalid`, naming the field. */

const bytes = (length: number) => Buffer.alloc(length, 1);
const time = { seconds: '1767225600', nanos: 0 };
const item = { entryId: 'e', csr: bytes(10), variables: { 'k8s.sa': 'web' } };
const bundle = { trustDomain: 'example.org', roots: [bytes(9)], jwks: '{"keys":[]}', sequence: '1' };
const entry = {
  id: 'e',
  revision: '1',
  spiffeId: 'spiffe://example.org/web',
  selectors: ['a:b'],
  hint: 'h',
  expiresAt: time,
};
const certificate = {
  chain: [bytes(9)],
  spiffeId: 'spiffe://example.org/web',
  instanceId: 'i',
  notBefore: time,
  notAfter: time,
};
const token = { token: 't', spiffeId: 'spiffe://example.org/web', issuedAt: time, expiresAt: time };

const { Watch, SignX509, SignJwt, SignWit } = identityService as unknown as Record<
  'Watch' | 'SignX509' | 'SignJwt' | 'SignWit',
  Method
>;
interface Method {
  requestSerialize(message: object): Buffer;
  requestDeserialize(bytes: Buffer): never;
  responseSerialize(message: object): Buffer;
  responseDeserialize(bytes: Buffer): never;
}

interface Kind {
  readonly encode: (message: object) => Buffer;
  readonly read: (bytes: Buffer) => unknown;
  readonly good: object;
  readonly bad: readonly (readonly [object, RegExp])[];
}

const kinds: Readonly<Record<string, Kind>> = {
  WatchIdentityRequest: {
    encode: (m) => Watch.requestSerialize(m),
    read: (b) => watch.fromIdentityMessage(Watch.requestDeserialize(b)),
    good: {
      hello: {
        entries: [{ id: 'e', revision: '3' }],
        bundles: [{ trustDomain: 'example.org', hash: bytes(32) }],
        version: 'v',
        time,
      },
    },
    bad: [
      [{}, /^message is missing/],
      [{ hello: { version: 'v' } }, /^hello\.time is missing/],
      [{ hello: { version: 'v'.repeat(129), time } }, /^hello\.version is longer/],
      [{ hello: { time, entries: [{ revision: '1' }] } }, /^hello\.entries\[0\]\.id is missing/],
      [{ hello: { time, entries: [{ id: 'x'.repeat(129) }] } }, /^hello\.entries\[0\]\.id is longer/],
      [{ hello: { time, entries: [{ id: 'x', revision: '18446744073709551615' }] } }, /revision is out of range/],
      [{ hello: { time, entries: Array(50_001).fill({ id: 'x' }) } }, /^hello\.entries has more than 50000/],
      [{ hello: { time, bundles: [{ trustDomain: 'X', hash: bytes(32) }] } }, /^hello\.bundles\[0\]\.trust_domain/],
      [{ hello: { time, bundles: [{ trustDomain: 'x', hash: bytes(31) }] } }, /hash is 31 bytes long, not 32/],
      [{ ack: { revision: '18446744073709551615' } }, /^ack\.revision is out of range/],
    ],
  },
  IdentityUpdate: {
    encode: (m) => Watch.responseSerialize(m),
    read: (b) => watch.fromIdentityUpdate(Watch.responseDeserialize(b)),
    good: { revision: '1', upserted: [entry], removed: ['x'], bundles: [bundle], removedBundles: ['y'], more: true },
    bad: [
      [{ revision: '18446744073709551615' }, /^revision is out of range/],
      [{ upserted: [{ ...entry, id: '' }] }, /^upserted\[0\]\.id is missing/],
      [{ upserted: [{ ...entry, spiffeId: '' }] }, /^upserted\[0\]\.spiffe_id is missing/],
      [{ upserted: [{ ...entry, selectors: [''] }] }, /^upserted\[0\]\.selectors\[0\] is missing/],
      [{ upserted: [{ ...entry, federatesWith: ['A'] }] }, /^upserted\[0\]\.federates_with\[0\]/],
      [{ upserted: [{ ...entry, hint: 'h'.repeat(1025) }] }, /^upserted\[0\]\.hint is longer/],
      [{ upserted: [{ ...entry, expiresAt: { nanos: -1 } }] }, /^upserted\[0\]\.expires_at is not a time/],
      [{ removed: [''] }, /^removed\[0\] is missing/],
      [{ bundles: [{ ...bundle, trustDomain: '' }] }, /^bundles\[0\]\.trust_domain is missing/],
      [{ bundles: [{ ...bundle, jwks: 'x' }] }, /^bundles\[0\]\.jwks is not JSON/],
      [{ removedBundles: ['a b'] }, /^removed_bundles\[0\]/],
    ],
  },
  SignX509Request: {
    encode: (m) => SignX509.requestSerialize(m),
    read: (b) => sign.fromSignX509Request(SignX509.requestDeserialize(b)),
    good: { items: [item] },
    bad: [
      [{}, /^items is missing/],
      [{ items: Array(501).fill(item) }, /^items has more than 500/],
      [{ items: [{ ...item, entryId: '' }] }, /^items\[0\]\.entry_id is missing/],
      [{ items: [item, { ...item, csr: bytes(0) }] }, /^items\[1\]\.csr is missing/],
      [{ items: [{ ...item, csr: bytes(MAX_CSR_BYTES + 1) }] }, /^items\[0\]\.csr is longer/],
      [{ items: [{ ...item, variables: { a: '' } }] }, /^items\[0\]\.variables, a value is missing/],
      [{ items: [{ ...item, variables: { ['n'.repeat(257)]: 'v' } }] }, /variables, a name is longer/],
      [
        { items: [{ ...item, variables: Object.fromEntries([...'abcdefghi'].map((n) => [n, 'v'])) }] },
        /^items\[0\]\.variables has more than 8/,
      ],
    ],
  },
  SignX509Response: {
    encode: (m) => SignX509.responseSerialize(m),
    read: (b) => sign.fromSignX509Response(SignX509.responseDeserialize(b), 1),
    good: { results: [{ certificate }] },
    bad: [
      [{}, /^results has 0 elements, not 1/],
      [{ results: [{ certificate }, { certificate }] }, /^results has 2 elements, not 1/],
      [{ results: [{}] }, /^results\[0\] is missing/],
      [{ results: [{ certificate: { ...certificate, chain: [] } }] }, /^results\[0\]\.certificate\.chain is missing/],
    ],
  },
  SignWitRequest: {
    encode: (m) => SignWit.requestSerialize(m),
    read: (b) => sign.fromSignWitRequest(SignWit.requestDeserialize(b)),
    good: { items: [item] },
    bad: [[{ items: Array(101).fill(item) }, /^items has more than 100/]],
  },
  SignWitResponse: {
    encode: (m) => SignWit.responseSerialize(m),
    read: (b) => sign.fromSignWitResponse(SignWit.responseDeserialize(b), 1),
    good: { results: [{ svid: token }] },
    bad: [
      [{ results: [{}] }, /^results\[0\] is missing/],
      [{ results: [{ svid: { ...token, token: '' } }] }, /^results\[0\]\.svid\.token is missing/],
      [{ results: [{ svid: { ...token, expiresAt: null } }] }, /^results\[0\]\.svid\.expires_at is missing/],
    ],
  },
  SignJwtRequest: {
    encode: (m) => SignJwt.requestSerialize(m),
    read: (b) => sign.fromSignJwtRequest(SignJwt.requestDeserialize(b)),
    good: { audience: ['a', 'b'], entryId: 'e', variables: { x: 'y' } },
    bad: [
      [{ entryId: 'e' }, /^audience is missing/],
      [{ entryId: 'e', audience: Array(17).fill('a') }, /^audience has more than 16/],
      [{ entryId: 'e', audience: ['a', ''] }, /^audience\[1\] is missing/],
      [{ entryId: 'e'.repeat(129), audience: ['a'] }, /^entry_id is longer/],
    ],
  },
};

describe('between agents and the control plane', () => {
  for (const [name, { encode, read, good, bad }] of Object.entries(kinds)) {
    for (const [message, expected] of bad) {
      it(`${name} is refused: ${expected.source.replaceAll(/[\\^]/g, '')}`, async () => {
        await expectAppError(() => read(encode(message)), 'invalid', expected);
      });
    }

    it(`${name} in any damaged form is read or refused, never more`, () => {
      const sample = encode(good);
      expect(read(sample)).toBeDefined();
      void fc.assert(
        fc.property(mutationsOf(sample), (damaged) => {
          try {
            read(damaged);
          } catch (error) {
            // What is no protobuf at all is the library's to refuse: `receive.ts` turns it into `invalid`.
            if (!(error instanceof AppError)) expect(error).toBeInstanceOf(Error);
            else expect(error.code).toBe('invalid');
          }
        }),
        { numRuns: 500 },
      );
    });
  }

  it('an error of an item is one of ours, or a defect', () => {
    const read = (code: string) => {
      const encoded = SignX509.responseSerialize({ results: [{ error: { code, message: 'No.' } }] });
      const [result] = sign.fromSignX509Response(SignX509.responseDeserialize(encoded), 1);
      return result !== undefined && 'error' in result ? result.error.code : undefined;
    };
    expect(read('not-found')).toBe('not-found');
    expect(read('made-up')).toBe('internal');
  });

  it('what was not expected of an item tells the agent nothing', () => {
    const [result] = sign.toSignX509Response([{ error: new Error('password is hunter2') as AppError }]).results ?? [];
    expect(result?.error).toEqual({
      code: 'internal',
      message: 'An internal error occurred. The server log has the details.',
    });
  });
});
