import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isJsonObject, parseStrictJson, type StrictJson } from '../../../src/core/identity/strict-json.ts';
import { expectAppError } from '../../support/errors.ts';
import { accepts, mutationsOf } from './mutate.ts';

test('what JSON.parse reads is read the same', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
      const text = JSON.stringify(value);
      expect(plain(parseStrictJson(text))).toEqual(JSON.parse(text));
    }),
  );
});

test('a key that comes twice in one object is refused, however it is written', async () => {
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":1,"\\u0061":2}',
    '[{"x":{"":1,"b":2,"":3}}]',
    '{"__proto__":1,"__proto__":2}',
  ]) {
    await expectAppError(() => parseStrictJson(text), 'invalid', /a key comes twice in one object/);
  }
  expect(accepts(() => parseStrictJson('[{"a":1},{"a":{"a":2}}]'), 'invalid')).toBe(true);
});

test('an integer that a number cannot hold is a bigint, to the last digit', async () => {
  expect(parseStrictJson('9007199254740991')).toBe(9_007_199_254_740_991);
  expect(parseStrictJson('9007199254740993')).toBe(9_007_199_254_740_993n);
  expect(parseStrictJson('18446744073709551615')).toBe(18_446_744_073_709_551_615n);
  expect(parseStrictJson('1.5e3')).toBe(1500);
  await expectAppError(() => parseStrictJson('1'.repeat(41)), 'invalid', /more than 40 digits/);
});

test('what is not JSON is refused', () => {
  const bad = [
    '',
    ' ',
    '{',
    '[1,]',
    '{"a":1,}',
    '{a:1}',
    "'a'",
    '01',
    '1.',
    '+1',
    '.5',
    'NaN',
    'nul',
    '"a',
    '"\t"',
    '"\\x"',
    '[1]2',
    '\u00a01',
    '{"a" 1}',
    '// x\n1',
  ];
  for (const text of bad) expect([text, accepts(() => parseStrictJson(text), 'invalid')]).toEqual([text, false]);
});

test('deep nesting ends in an error and not in an overflow', async () => {
  expect(accepts(() => parseStrictJson(`${'['.repeat(32)}${']'.repeat(32)}`), 'invalid')).toBe(true);
  await expectAppError(() => parseStrictJson('['.repeat(400_000)), 'invalid', /nested deeper than 32 levels/);
});

test('fuzz: a damaged document is refused, or read as JSON.parse reads it', () => {
  const sample = Buffer.from(
    '{"keys":[{"kty":"EC","use":"jwt-svid","n":[1,2.5,true,null,"\\u00e4\\n"]}],"spiffe_sequence":12}',
  );
  fc.assert(
    fc.property(mutationsOf(sample), (bytes) => {
      const text = bytes.toString('utf8');
      if (accepts(() => parseStrictJson(text), 'invalid')) expect(() => JSON.parse(text)).not.toThrow();
    }),
    { numRuns: 2000 },
  );
});

function plain(value: StrictJson): unknown {
  if (isJsonObject(value)) {
    const object: Record<string, unknown> = {};
    for (const [key, member] of value) Object.defineProperty(object, key, { value: plain(member), enumerable: true });
    return object;
  }
  if (typeof value === 'bigint') return Number(value);
  return Array.isArray(value) ? (value as readonly StrictJson[]).map(plain) : value;
}
