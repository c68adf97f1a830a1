import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { normalizePath } from '../../../src/core/policy/path.ts';

function pathOf(target: string): string {
  const result = normalizePath(target);
  return result.ok ? result.path : `refused: ${result.why}`;
}

describe('rule 37 and 38: paths are normalised at the strictest level', () => {
  test.each([
    // The pairs of the reference. Those of its weaker level come out the same or stricter.
    ['/app/%2E./admin', '/admin'],
    ['/app\\admin', '/app/admin'],
    ['/app//../admin', '/app/admin'],
    ['/app%2f/', '/app/'],
    ['/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\\abc', '/app/admin/abc'],
    ['/..;/admin', '/..;/admin'],
    ['/Admin', '/Admin'],
    // Dot segments.
    ['/', '/'],
    ['/.', '/'],
    ['/..', '/'],
    ['/../../admin', '/admin'],
    ['/a/.', '/a/'],
    ['/a/..', '/'],
    ['/a/b/..', '/a/'],
    ['/a/./b', '/a/b'],
    ['/a/%2e%2e/admin', '/admin'],
    ['/a/%2E%2E%2Fadmin', '/admin'],
    ['/public/..%2fadmin', '/admin'],
    ['/public/..\\admin', '/admin'],
    ['/public/%2e%2e%5cadmin', '/admin'],
    ['/...', '/...'],
    ['/.well-known/x', '/.well-known/x'],
    ['/a..b/.c', '/a..b/.c'],
    // Slashes.
    ['//', '/'],
    ['//admin', '/admin'],
    ['///a////b//', '/a/b/'],
    ['/%2fadmin', '/admin'],
    ['//evil.example/admin', '/evil.example/admin'],
    ['/a/', '/a/'],
    ['/a', '/a'],
    // Decoded once.
    ['/%61dmin', '/admin'],
    ['/%41%2D%5F%7e%30', '/A-_~0'],
    ['/%252e%252e/admin', '/%252e%252e/admin'],
    ['/%25252e', '/%25252e'],
    ['/%2561', '/%2561'],
    // One spelling of what stays.
    ['/caf%c3%a9', '/caf%C3%A9'],
    ['/a%20b', '/a%20b'],
    ['/a{b}|"<c>^`', '/a%7Bb%7D%7C%22%3Cc%3E%5E%60'],
    ['/a%7bb%7D', '/a%7Bb%7D'],
    ['/a%3fb%23c', '/a%3Fb%23c'],
    ['/a%0d%0ab', '/a%0D%0Ab'],
    // Beyond the reference: what may stand in a segment unescaped is compared unescaped.
    ['/v1/keys%3Arotate', '/v1/keys:rotate'],
    ['/users/%40me', '/users/@me'],
    ['/%21%24%26%27%28%29%2A%2b%2C%3b%3D%3a%40', "/!$&'()*+,;=:@"],
    // Query and fragment.
    ['/a?b=/../c', '/a'],
    ['/a?', '/a'],
    ['/a#b', '/a'],
    ['/a#b?c', '/a'],
    ['/?', '/'],
  ])('%s is decided on as %s', (target, path) => {
    expect(pathOf(target)).toBe(path);
  });

  test.each([
    ['/a%00b', 'the path holds an escaped NUL'],
    ['/%00', 'the path holds an escaped NUL'],
    ['/a\0b', 'the request target holds a character that a URI must escape'],
    ['/a b', 'the request target holds a character that a URI must escape'],
    ['/a\r\nx: y', 'the request target holds a character that a URI must escape'],
    ['/a\tb', 'the request target holds a character that a URI must escape'],
    ['/\x7f', 'the request target holds a character that a URI must escape'],
    ['/café', 'the request target holds a character that a URI must escape'],
    ['/a?b c', 'the request target holds a character that a URI must escape'],
    ['/a?\0', 'the request target holds a character that a URI must escape'],
    ['/%', 'the path holds a "%" that two hex digits do not follow'],
    ['/%4', 'the path holds a "%" that two hex digits do not follow'],
    ['/%zz', 'the path holds a "%" that two hex digits do not follow'],
    ['/%u002e', 'the path holds a "%" that two hex digits do not follow'],
    ['/%%32%65', 'the path holds a "%" that two hex digits do not follow'],
    ['/%c0%af', 'the escapes in the path are not UTF-8'],
    ['/%C0%AE%C0%AE/admin', 'the escapes in the path are not UTF-8'],
    ['/%e0%80%af', 'the escapes in the path are not UTF-8'],
    ['/%f0%80%80%af', 'the escapes in the path are not UTF-8'],
    ['/%ed%a0%80', 'the escapes in the path are not UTF-8'],
    ['/%f4%90%80%80', 'the escapes in the path are not UTF-8'],
    ['/%ff', 'the escapes in the path are not UTF-8'],
    ['/%c3', 'the escapes in the path are not UTF-8'],
    ['/%c3/%a9', 'the escapes in the path are not UTF-8'],
    ['', 'the request target is empty'],
    ['*', 'the asterisk form names no path'],
    ['admin', 'the request target does not begin with "/"'],
    ['%2fadmin', 'the request target does not begin with "/"'],
    ['\\admin', 'the request target does not begin with "/"'],
    ['http://example.org/admin', 'the request target does not begin with "/"'],
    ['example.org:443', 'the request target does not begin with "/"'],
    ['?a', 'the request target does not begin with "/"'],
    ['#/a', 'the request target does not begin with "/"'],
  ])('%j is refused: %s', (target, why) => {
    expect(normalizePath(target)).toEqual({ ok: false, why });
  });
});

describe('what is forwarded', () => {
  test.each([
    ['/a/../b?x=%zz&y=//#z', '/b?x=%zz&y=//'],
    ['/a?', '/a?'],
    ['/a?b?c', '/a?b?c'],
    ['/a', '/a'],
    // Means something else to some applications, so it goes on as it came.
    ['/v1/keys%3arotate', '/v1/keys%3Arotate'],
    ['/a%3Bb', '/a%3Bb'],
    ['/a%2f..%2fb', '/b'],
  ])('%s goes on as %s', (target, forwarded) => {
    expect(normalizePath(target)).toMatchObject({ ok: true, target: forwarded });
  });
});

const pieces = fc.constantFrom(
  ...['/', '//', '.', '..', '%2e', '%2E%2e', '%2f', '%5c', '\\', 'a', 'B', '%61', '%25', '2e', '%3b', ';', ':', '%40'],
  ...['%00', '%c3%a9', '%c0%af', '%', '{', '*', '?', '#', 'q=1', ' ', '%20', '~', '%7E', '\u00e9'],
);
const targets = fc.array(pieces, { maxLength: 12 }).map((parts) => `/${parts.join('')}`);

test('any target is refused or comes out absolute, without dot segments, empty segments, backslashes or a query', () => {
  let accepted = 0;
  fc.assert(
    fc.property(targets, (target) => {
      const result = normalizePath(target);
      if (!result.ok) return;
      accepted += 1;
      for (const path of [result.path, result.target.split('?')[0] ?? '']) {
        expect(path).toMatch(/^\/[!-~]*$/);
        expect(path).not.toMatch(/\/\/|\\|[?#]|%2f|%5c|%2e|%00/i);
        expect(path.split('/')).not.toContain('.');
        expect(path.split('/')).not.toContain('..');
      }
    }),
    { seed: 38, numRuns: 5000 },
  );
  expect(accepted).toBeGreaterThan(1000);
});

test('what was normalised once stays as it is: the next hop reads the same path', () => {
  fc.assert(
    fc.property(targets, (target) => {
      const once = normalizePath(target);
      if (once.ok) expect(normalizePath(once.target)).toEqual(once);
    }),
    { seed: 39, numRuns: 5000 },
  );
});

test('escaping any unreserved character or slash of a path changes nothing', () => {
  const escaped = (text: string, mask: readonly boolean[]) =>
    [...text].map((c, i) => (i > 0 && mask[i] === true ? `%${c.charCodeAt(0).toString(16)}` : c)).join('');
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('/', 'a', 'Z', '.', '-', '_', '~', '9'), maxLength: 12 }),
      fc.array(fc.boolean(), { minLength: 13, maxLength: 13 }),
      (text, mask) => {
        expect(normalizePath(escaped(`/${text}`, mask))).toEqual(normalizePath(`/${text}`));
      },
    ),
    { seed: 40, numRuns: 2000 },
  );
});
