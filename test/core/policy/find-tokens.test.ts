import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { behindPrefix, findTokens, withoutCookie, withoutParameter } from '../../../src/core/policy/find-tokens.ts';
import type { JwtRule } from '../../../src/core/policy/request-authentication.ts';
import { compileUserTokenRules } from '../../../src/core/policy/user-token-rules.ts';
import { authentication, EndUsers } from '../../support/end-users.ts';

const users = new EndUsers();

function found(rule: Partial<JwtRule>, fields: readonly string[], target = '/'): string[] {
  const rules = compileUserTokenRules([authentication(users.rule(rule))]);
  return findTokens(rules?.places ?? [], fields, target).map(({ text }) => text);
}

describe('rule 49: where a token is looked for', () => {
  test('with nothing said, in Authorization as Bearer and in the query as access_token', () => {
    expect(found({}, ['authorization', 'Bearer abc'])).toEqual(['abc']);
    expect(found({}, [], '/a?x=1&access_token=abc')).toEqual(['abc']);
    expect(found({}, ['x-jwt', 'abc', 'cookie', 'access_token=abc'], '/access_token=abc')).toEqual([]);
  });

  test('only in the places that are named, where any is', () => {
    const rule = { fromHeaders: [{ name: 'x-jwt', prefix: '' }], fromParams: ['t'], fromCookies: ['session'] };
    expect(found(rule, ['X-JWT', 'a', 'Cookie', 'b=1; session=c'], '/?t=b')).toEqual(['a', 'b', 'c']);
    expect(found(rule, ['authorization', 'Bearer abc'], '/?access_token=abc')).toEqual([]);
  });

  test.each([
    ['bearer abc', 'abc'],
    ['BEARER   abc  ', 'abc'],
    ['Bearer\tabc', 'abc'],
    ['Bearer abc, Bearer def', 'abc, Bearer def'],
    ['Bearer,abc', ',abc'],
  ])('some application reads %j as a token, so it is one', (value, text) => {
    expect(found({}, ['Authorization', value])).toEqual([text]);
  });

  test.each([['Basic abc'], ['Bearerabc'], ['Bearer'], ['Bearer '], [''], ['abc']])('%j is none', (value) => {
    expect(found({}, ['authorization', value])).toEqual([]);
  });

  test('a prefix without a blank stands directly before it', () => {
    expect(behindPrefix('jwt=abc', 'jwt=')).toBe('abc');
    expect(behindPrefix('jwt abc', 'jwt=')).toBeUndefined();
  });

  test('every time that a field or a parameter stands there counts, however it is spelled', () => {
    const rule = { fromHeaders: [{ name: 'x-jwt', prefix: '' }], fromParams: ['access_token'] };
    expect(found(rule, ['x-jwt', 'a', 'X_Jwt', 'b', 'x-jwt', 'c'])).toEqual(['a', 'b', 'c']);
    expect(found(rule, [], '/?access_token=a;access_token=b&access%5Ftoken=c&%61ccess_token=d')).toEqual([
      'a',
      'b',
      'c',
      'd',
    ]);
  });

  test('cookies may be quoted, in several fields, and cut at commas', () => {
    const rule = { fromCookies: ['s'] };
    expect(found(rule, ['cookie', 's="a"', 'Cookie', 'x=1;s=b', 'cookie', 'y=1,s=c'])).toEqual(['a', 'b', 'c']);
  });
});

describe('what is left of a request', () => {
  test.each([
    ['/a?t=1', '/a'],
    ['/a?t=1&x=2', '/a?x=2'],
    ['/a?x=2&t=1', '/a?x=2'],
    ['/a?x=%20&%74=1&y', '/a?x=%20&y'],
    ['/a?x=1;t=2;y=3', '/a?x=1;y=3'],
    ['/a?t=1&t=2', '/a'],
    ['/a?x=t=1', '/a?x=t=1'],
    ['/t=1', '/t=1'],
    ['/a?&&', '/a?&&'],
  ])('%s becomes %s', (target, rest) => {
    expect(withoutParameter(target, 't')).toBe(rest);
  });

  test.each([
    ['s=1', ''],
    ['a=1; s=2; b="x; y"', 'a=1; b="x; y"'],
    ['s=1; a=1', 'a=1'],
    ['a=1,2; s=x', 'a=1,2'],
    ['as=1; s =2', 'as=1'],
  ])('the cookies %j become %j', (value, rest) => {
    expect(withoutCookie(value, 's')).toBe(rest);
  });

  test('whatever the query and the cookies are, no token is left in them, and the rest is as it was', () => {
    const rule = { fromParams: ['t'], fromCookies: ['t'] };
    const piece = fc.oneof(
      fc.constantFrom('t', '%74', '=', '&', ';', '?', '%', '%7', '+', ' ', 'x', 't=1', ','),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (parts) => {
        const text = parts.join('');
        const target = withoutParameter(`/p?${text}`, 't');
        expect(found(rule, [], target)).toEqual([]);
        expect(withoutParameter(target, 't')).toBe(target);
        expect(found(rule, ['cookie', withoutCookie(text, 't')])).toEqual([]);
      }),
      { numRuns: 2000, seed: 7 },
    );
  });
});
