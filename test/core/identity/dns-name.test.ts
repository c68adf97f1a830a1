import { describe, expect, it } from 'vitest';
import { overlapOf, problemOfDnsName } from '../../../src/core/identity/dns-name.ts';

describe('A DNS name of a certificate', () => {
  it.each([
    'localhost',
    'db.example.org',
    '*.example.org',
    'a--b.example.org',
    'xn--bcher-kva.example',
    '*.xn--bcher-kva.example',
    '1.2.3.example',
    `${'a'.repeat(63)}.example`,
  ])('S16: may be %s', (name) => expect(problemOfDnsName(name)).toBeUndefined());

  it.each([
    ['', /63 lower-case letters/],
    ['A.example.org', /lower-case/],
    ['bücher.example', /xn--/],
    ['a..b', /63 lower-case letters/],
    ['a.', /63 lower-case letters/],
    ['-a.b', /inner dashes/],
    ['a_b.c', /63 lower-case letters/],
    [`${'a'.repeat(64)}.example`, /at most 63/],
    [`${'a.'.repeat(127)}aa`, /at most 253/],
    ['*', /two labels behind/],
    ['*.org', /two labels behind/],
    ['a.*.example.org', /whole first label/],
    ['*a.example.org', /whole first label/],
    ['a*.example.org', /whole first label/],
    ['*.*.example.org', /whole first label/],
    ['127.0.0.1', /end in a number/],
    ['*.0.1', /end in a number/],
    ['xn--zzzzzzzzzzzz99999.example', /valid xn--/],
    ['xn--a.example', /valid xn--/],
    ['xn--abc-.example', /63 lower-case|valid xn--/],
    ['ab--cd.example', /third and fourth/],
    ['a\nb.example', /63 lower-case letters/],
  ])('S16: is refused for %j', (name, message) => expect(problemOfDnsName(name)).toMatch(message));

  it.each([
    [
      ['*.example.org', 'a.example.org'],
      ['*.example.org', 'a.example.org'],
    ],
    [
      ['a.example.org', '*.example.org'],
      ['*.example.org', 'a.example.org'],
    ],
    [['*.example.org', 'a.b.example.org', 'example.org', 'localhost'], undefined],
    [['*.example.org', '*.a.example.org'], undefined],
  ])('S16: overlap of %j', (names, overlap) => expect(overlapOf(names)).toEqual(overlap));
});
