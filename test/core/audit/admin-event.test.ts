import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changeOf } from '../../../src/core/audit/admin-change.ts';
import { masked } from '../../../src/core/audit/admin-event.ts';

describe('what is recorded of a text', () => {
  const token = `writ_${'aB3-_'.repeat(9)}`;
  const jwt = `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.${'s'.repeat(40)}`;
  const key = '-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----';

  it.each([
    ['a token of an administrator', `x=${token}&y`, 'x=writ_[masked]&y'],
    ['a join token', `"wjt_${'q'.repeat(43)}"`, '"wjt_[masked]"'],
    ['a JWT', `token ${jwt}.`, 'token eyJ[masked].'],
    ['a JWT without signature', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.', 'eyJ[masked]'],
    ['a bearer of any form', 'Authorization: Bearer 0123456789abcdef', 'Authorization: Bearer [masked]'],
    ['a private key', `a\n${key}\nb`, 'a\n-----BEGIN EC PRIVATE KEY-----[masked]\nb'],
    ['a private key in a difference', `+${key.replaceAll('\n', '\n+')}\n`, '+-----BEGIN EC PRIVATE KEY-----[masked]\n'],
    ['a private key that was cut', key.slice(0, 40), '-----BEGIN EC PRIVATE KEY-----[masked]'],
    ['two tokens', `${token} ${token}`, 'writ_[masked] writ_[masked]'],
  ])('is without %s', (_, text, rest) => {
    expect(masked(text)).toBe(rest);
  });

  it.each(['writ_x', '/v1/policies/shop/web', 'spiffe://example.org/ns/shop/sa/web', 'the bearer of bad news', 'eyJ'])(
    'is %j as it is',
    (text) => {
      expect(masked(text)).toBe(text);
    },
  );

  it('never holds a token, whatever is around it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 30 }), fc.string({ maxLength: 30 }), (before, after) => {
        expect(masked(`${before}${token} ${after}`)).not.toContain(token.slice(5));
      }),
    );
  });

  it.each(['eyJ', 'eyJ-', 'eyJaaaaaa.', 'writ_', 'Bearer ', '-----BEGIN PRIVATE KEY-----'])(
    'is found in time that grows with the text only, also when it is nothing but %j',
    (part) => {
      const text = part.repeat(Math.ceil(1_000_000 / part.length));
      const started = process.cpuUsage();
      masked(text);
      // Read again for each part it would be minutes.
      expect(process.cpuUsage(started).user).toBeLessThan(1_000_000);
    },
  );
});

describe('a change', () => {
  const names = { from: 'a', to: 'b' };
  const hash = (text: string) => createHash('sha256').update(text).digest('hex');

  it('has the hashes of both texts, and their difference', () => {
    expect(changeOf({ before: 'x: 1\ny: 2\n', after: 'x: 1\ny: 3\n', ...names })).toEqual({
      before: hash('x: 1\ny: 2\n'),
      after: hash('x: 1\ny: 3\n'),
      detail: '--- a\n+++ b\n@@ -1,2 +1,2 @@\n x: 1\n-y: 2\n+y: 3\n',
    });
  });

  it('has no hash of what is not there, and no difference where there is none', () => {
    expect(changeOf({ before: undefined, after: 'x\n', ...names })).toMatchObject({ before: '', after: hash('x\n') });
    expect(changeOf({ before: 'x\n', after: undefined, ...names }).detail).toContain('+++ /dev/null');
    expect(changeOf({ before: 'x\n', after: 'x\n', ...names }).detail).toBe('');
  });
});
