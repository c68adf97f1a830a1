import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatMatch, matches, parseMatch } from '../../../src/core/policy/match.ts';
import { m } from './support.ts';

describe('rule 7: string forms', () => {
  test.each([
    ['abc', { kind: 'exact', value: 'abc' }],
    ['abc*', { kind: 'prefix', value: 'abc' }],
    ['*abc', { kind: 'suffix', value: 'abc' }],
    ['*', { kind: 'present' }],
  ])('%s is read as %o and written back', (text, match) => {
    expect(parseMatch(text)).toEqual(match);
    expect(formatMatch(m(text))).toBe(text);
  });

  test.each([
    ['abc', 'abc', true],
    ['abc', 'abcd', false],
    ['abc*', 'abc', true],
    ['abc*', 'abcd', true],
    ['abc*', 'xabc', false],
    ['abc*', 'ab', false],
    ['*abc', 'abc', true],
    ['*abc', 'xabc', true],
    ['*abc', 'abcx', false],
    ['*', 'x', true],
    ['*', '', false],
  ])('%s against "%s" is %s', (text, value, expected) => {
    expect(matches(m(text), value)).toBe(expected);
  });
});

test.each(['', 'a*b', '*a*', '**', '/a/*/b', '***', 'a**'])(
  'rule 8: "%s" is refused and not taken literally',
  (text) => {
    expect(parseMatch(text)).toBeUndefined();
  },
);

test('rule 9: comparison is case-sensitive', () => {
  expect(matches(m('GET'), 'get')).toBe(false);
  expect(matches(m('/Admin*'), '/admin/x')).toBe(false);
});

test('what is read is written back unchanged', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', '/', '*') }), (text) => {
      const match = parseMatch(text);
      if (match !== undefined) expect(formatMatch(match)).toBe(text);
    }),
  );
});
