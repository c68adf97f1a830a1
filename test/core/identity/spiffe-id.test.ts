import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import {
  controlPlaneId,
  isReserved,
  parseSpiffeId,
  parseTrustDomain,
  trustDomainId,
  workloadId,
  workloadOf,
} from '../../../src/core/identity/spiffe-id.ts';
import { expectAppError } from '../../support/errors.ts';

const refused = async (text: string, why: RegExp): Promise<void> => {
  await expectAppError(() => parseSpiffeId(text), 'invalid', why);
};

describe('spiffe 1: scheme and trust domain', () => {
  it('spiffe 1: an ID is taken apart into trust domain and path', () => {
    expect(parseSpiffeId('spiffe://example.org/ns/shop/sa/web')).toEqual({
      trustDomain: 'example.org',
      path: '/ns/shop/sa/web',
      uri: 'spiffe://example.org/ns/shop/sa/web',
    });
  });

  it('spiffe 1: an ID without a path is that of the trust domain', () => {
    expect(parseSpiffeId('spiffe://example.org')).toEqual({
      trustDomain: 'example.org',
      path: '',
      uri: 'spiffe://example.org',
    });
  });

  it.each([
    '',
    'example.org/a',
    'http://example.org/a',
    'spiffe:/example.org/a',
    'spiffe:example.org',
    ' spiffe://a/b',
    '//a/b',
  ])('spiffe 1: %j does not have the scheme spiffe', (text) => refused(text, /must begin with spiffe:\/\//));

  it.each(['spiffe://', 'spiffe:///path'])('spiffe 1: %j has an empty trust domain', (text) =>
    refused(text, /the trust domain is empty/),
  );

  it.each(['spiffe://a/b?q=1', 'spiffe://a/b?', 'spiffe://a/b#f', 'spiffe://a?q', 'spiffe://a#f'])(
    'spiffe 1: %j has a query or a fragment',
    (text) => refused(text, /may have only/),
  );
});

it.each(['spiffe://a:80/x', 'spiffe://u@a/x', 'spiffe://u:p@a/x', 'spiffe://:80/x', 'spiffe://@/x'])(
  'spiffe 2: %j has userinfo or a port and is refused',
  (text) => refused(text, /the trust domain may have only/),
);

it.each([
  'spiffe://exämple/x',
  'spiffe://a%62/x',
  'spiffe://a b/x',
  'spiffe://[::1]/x',
  'spiffe://a\u0000b/x',
  'spiffe://a,b/x',
])('spiffe 3: the trust domain of %j has a character it may not have', (text) =>
  refused(text, /the trust domain may have only/),
);

it.each(['10.0.0.1', 'a', 'a_b', 'a-b', 'a..b', '-', '_', '.', '999.999.999.999'])(
  'spiffe 3, 4: %j is a trust domain like any other, whatever it looks like',
  (name) => {
    expect(parseTrustDomain(name)).toBe(name);
    expect(parseSpiffeId(`spiffe://${name}/a`).trustDomain).toBe(name);
  },
);

it.each([
  ['spiffe://a/', /empty segment/],
  ['spiffe://a//b', /empty segment/],
  ['spiffe://a/b//c', /empty segment/],
  ['spiffe://a/b/', /trailing slash/],
  ['spiffe://a/.', /"\." or "\.\."/],
  ['spiffe://a/../b', /"\." or "\.\."/],
  ['spiffe://a/b/./c', /"\." or "\.\."/],
  ['spiffe://a/b%2fc', /may have only/],
  ['spiffe://a/b c', /may have only/],
  ['spiffe://a/ü', /may have only/],
  ['spiffe://a/b\n', /may have only/],
  ['spiffe://a/b\\c', /may have only/],
  ['spiffe://a/b:c', /may have only/],
] as const)('spiffe 5: the path of %j is refused', (text, why) => refused(text, why));

it('spiffe 5: dots within a segment are fine', () => {
  expect(parseSpiffeId('spiffe://a/.../..b/c.').path).toBe('/.../..b/c.');
});

it('spiffe 6: an ID of 2048 bytes is taken and one of 2049 refused', async () => {
  const longest = `spiffe://a/${'x'.repeat(2048 - 11)}`;
  expect(longest).toHaveLength(2048);
  expect(parseSpiffeId(longest).uri).toBe(longest);
  await refused(`${longest}x`, /longer than 2048/);
  await expectAppError(() => workloadId('a', 'n', 'x'.repeat(2048)), 'invalid', /longer than 2048/);
});

it('spiffe 6: a trust domain of 255 bytes is taken and one of 256 refused', async () => {
  expect(parseTrustDomain('a'.repeat(255))).toHaveLength(255);
  await expectAppError(() => parseTrustDomain('a'.repeat(256)), 'invalid', /longer than 255/);
});

it('spiffe 7: a second spelling of scheme or trust domain is refused, so that equal IDs are equal strings', async () => {
  await refused('SPIFFE://example.org/a', /lower case/);
  await refused('Spiffe://example.org/a', /lower case/);
  await refused('spiffe://Example.org/a', /only lower-case letters/);
});

it('spiffe 7: paths differ by case', () => {
  expect(parseSpiffeId('spiffe://a/B').uri).not.toBe(parseSpiffeId('spiffe://a/b').uri);
});

it('spiffe 8: the ID of a trust domain has no path', () => {
  expect(trustDomainId('example.org')).toEqual(parseSpiffeId('spiffe://example.org'));
});

describe('IDs of the mesh', () => {
  it('a workload ID has namespace and service, both ways', () => {
    const id = workloadId('example.org', 'shop', 'web');
    expect(id).toEqual(parseSpiffeId('spiffe://example.org/ns/shop/sa/web'));
    expect(workloadOf(id)).toEqual({ namespace: 'shop', service: 'web' });
  });

  it.each([
    '',
    '/ns/shop',
    '/ns/shop/sa',
    '/ns/shop/sa/web/x',
    '/x/shop/sa/web',
    '/ns/shop/x/web',
    '/sa/web/ns/shop',
    '/writ/control-plane',
  ])('the path %j names no workload', (path) => {
    expect(workloadOf(parseSpiffeId(`spiffe://a${path}`))).toBeUndefined();
  });

  it.each(['', 'a/b', '..', 'ü', 'a%2f', 'a b'])('%j is no namespace and no service', async (part) => {
    await expectAppError(() => workloadId('a', part, 'web'), 'invalid');
    await expectAppError(() => workloadId('a', 'shop', part), 'invalid');
  });

  it('/writ and what is below it is reserved, and nothing that only begins alike', () => {
    expect(isReserved(controlPlaneId('a'))).toBe(true);
    expect(isReserved(parseSpiffeId('spiffe://a/writ'))).toBe(true);
    expect(isReserved(parseSpiffeId('spiffe://a/writer'))).toBe(false);
    expect(isReserved(parseSpiffeId('spiffe://a/Writ/x'))).toBe(false);
    expect(isReserved(parseSpiffeId('spiffe://a/ns/writ/sa/x'))).toBe(false);
    expect(isReserved(parseSpiffeId('spiffe://a'))).toBe(false);
  });

  it('an ID cannot be changed', () => {
    expect(Object.isFrozen(parseSpiffeId('spiffe://a/b'))).toBe(true);
  });

  it('the message does not repeat what the caller sent', async () => {
    const error = await expectAppError(() => parseSpiffeId('spiffe://evil<script>/x'), 'invalid', /may have only/);
    expect(error.message).not.toContain('script');
  });
});

describe('any text', () => {
  // The grammar of SPIFFE-ID.md §2, written down a second time as one expression.
  const grammar = /^spiffe:\/\/[a-z0-9._-]{1,255}(\/(?!\.{1,2}(\/|$))[a-zA-Z0-9._-]+)*$/;

  it('is an ID exactly when it matches the grammar', () => {
    const piece = fc.constantFrom(
      'a',
      'Z',
      '0',
      '.',
      '..',
      '-',
      '_',
      '/',
      '//',
      '%2e',
      '?',
      '#',
      ':',
      '@',
      'ü',
      '\n',
      ' ',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(piece, { maxLength: 8 }).map((parts) => `spiffe://${parts.join('')}`),
      fc.array(piece, { maxLength: 8 }).map((parts) => `spiffe://td/${parts.join('')}`),
    );
    fc.assert(
      fc.property(text, (value) => {
        const expected = grammar.test(value) && !value.endsWith('\n');
        try {
          expect(parseSpiffeId(value).uri).toBe(value);
          expect(expected).toBe(true);
        } catch (error) {
          if (!(error instanceof AppError)) throw error;
          expect(error.code).toBe('invalid');
          expect(expected).toBe(false);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
