import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { matchesLabels, parseLabelSelector } from '../../../src/control/store/label-selector.ts';
import { expectAppError } from '../../support/errors.ts';

const matches = (text: string, labels: Record<string, string>) => matchesLabels(parseLabelSelector(text), labels);

describe('a label selector', () => {
  it.each([
    ['a=b', { a: 'b' }, true],
    ['a==b', { a: 'b' }, true],
    ['a=b', { a: 'c' }, false],
    ['a=b', {}, false],
    ['a!=b', { a: 'b' }, false],
    ['a!=b', { a: 'c' }, true],
    ['a!=b', {}, true],
    ['a', { a: '' }, true],
    ['a', {}, false],
    ['!a', {}, true],
    ['!a', { a: 'x' }, false],
    ['a in (b,c)', { a: 'c' }, true],
    ['a in (b)', {}, false],
    ['a notin (b,c)', { a: 'c' }, false],
    ['a notin (b,c)', {}, true],
    ['a=', { a: '' }, true],
    ['a=', { a: 'x' }, false],
    ['a!=', { a: 'x' }, true],
    ['a=b,c!=d,e,!f', { a: 'b', e: 'x' }, true],
    ['a=b,c!=d,e,!f', { a: 'b', e: 'x', f: 'x' }, false],
    [' a = b , c in ( d , e ) ', { a: 'b', c: 'd' }, true],
    ['in in (in),notin notin (notin)', { in: 'in' }, true],
    ['writ.dev/tier=web', { 'writ.dev/tier': 'web' }, true],
    ['toString', {}, false],
    ['!constructor', {}, true],
  ] as const)('%j of %j is %j', (text, labels, expected) => {
    expect(matches(text, labels)).toBe(expected);
  });

  it.each([
    ['', 1, 'the name of a label was expected'],
    [' ', 2, 'the name of a label was expected'],
    ['a,', 3, 'the name of a label was expected'],
    [',a', 1, 'the name of a label was expected'],
    ['a,,b', 3, 'the name of a label was expected'],
    ['=b', 1, 'the name of a label was expected'],
    ['a=b=c', 4, '"," or the end was expected'],
    ['a b', 3, 'one of =, ==, !=, in, notin or "," was expected'],
    ['a>5', 1, '"a>5" is not the name of a label'],
    ['a in b', 6, '"(" was expected'],
    ['a in ()', 7, 'a value was expected'],
    ['a in (b', 8, '"," or ")" was expected'],
    ['a in (b,)', 9, 'a value was expected'],
    ['a in (b c)', 9, '"," or ")" was expected'],
    ['a in (b)c', 9, '"," or the end was expected'],
    ['-a=b', 1, '"-a" is not the name of a label'],
    ['/a', 1, '"/a" is not the name of a label'],
    ['A.b/c', 1, '"A.b/c" is not the name of a label'],
    ['a/b/c', 1, '"a/b/c" is not the name of a label'],
    ['a=-b', 3, '"-b" is not the value of a label'],
    ['a!b', 2, 'one of =, ==, !=, in, notin or "," was expected'],
    ['!!a', 2, 'the name of a label was expected'],
    ['a\t=b', 1, '"a\t" is not the name of a label'],
  ])('%j is refused at character %i', async (text, at, what) => {
    const error = await expectAppError(() => parseLabelSelector(text), 'invalid');
    expect(error.message).toContain(`labelSelector cannot be read at character ${at}: ${what}.`);
    expect(error.details).toEqual([{ code: 'malformed', message: error.message, pointer: '/labelSelector' }]);
  });

  it('has at most 1024 characters and 32 requirements', async () => {
    expect(parseLabelSelector(Array(32).fill('a').join(','))).toHaveLength(32);
    await expectAppError(
      () => parseLabelSelector(Array(33).fill('a').join(',')),
      'invalid',
      /at character 65: more than 32/,
    );
    const long = `a in (${'b,'.repeat(508)}b)`;
    expect(long).toHaveLength(1024);
    expect(parseLabelSelector(long)).toEqual([{ key: 'a', operator: 'in', values: ['b'] }]);
    await expectAppError(() => parseLabelSelector(`${long} `), 'invalid', /longer than 1024/);
  });

  it('says the same however it is written', () => {
    expect(parseLabelSelector('a in (c,b,c)')).toEqual(parseLabelSelector(' a  in(b , c)'));
    expect(parseLabelSelector('a=b')).toEqual(parseLabelSelector('a in (b)'));
  });

  it('is read or refused, whatever the text', () => {
    const piece = fc.oneof(
      fc.constantFrom('a', 'b.c/d', 'in', 'notin', '=', '==', '!=', '!', '(', ')', ',', ' '),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), fc.dictionary(fc.string(), fc.string()), (pieces, labels) => {
        try {
          expect(matchesLabels(parseLabelSelector(pieces.join('')), labels)).toBeTypeOf('boolean');
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
          expect((error as AppError).code).toBe('invalid');
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('chooses as a naive reading of its requirements does', () => {
    const name = fc.constantFrom('a', 'b', 'c');
    const requirement = fc.record({
      key: name,
      operator: fc.constantFrom('=', '!=', 'in', 'notin', '', '!'),
      values: fc.array(name, { minLength: 1, maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(requirement, { minLength: 1, maxLength: 4 }), fc.dictionary(name, name), (all, labels) => {
        const text = all.map(({ key, operator: o, values: v }) =>
          o === '=' || o === '!=' ? `${key}${o}${v[0]}` : o === '' ? key : o === '!' ? `!${key}` : `${key} ${o} (${v})`,
        );
        const naive = all.every(({ key, operator: o, values }) => {
          const value = labels[key];
          const chosen = o === '=' || o === '!=' ? values.slice(0, 1) : values;
          if (o === '') return value !== undefined;
          if (o === '!') return value === undefined;
          const isIn = value !== undefined && chosen.includes(value);
          return o === '=' || o === 'in' ? isIn : !isIn;
        });
        expect(matches(text.join(','), { ...labels })).toBe(naive);
      }),
      { numRuns: 1000 },
    );
  });
});
