import { isUtf8 } from 'node:buffer';

export type NormalizedPath =
  | {
      readonly ok: true;
      /** What is decided on and recorded: without query and fragment. */
      readonly path: string;
      /** What is forwarded: the normalised path and the query as it came. */
      readonly target: string;
    }
  | { readonly ok: false /** For people, without the path itself. */; readonly why: string };

/**
 * Brings the target of an HTTP request into the one spelling that rules are compared with, or refuses it.
 *
 * The strictest of Istio's levels, DECODE_AND_MERGE_SLASHES (reference: rules 37 and 38), in this order, each step once:
 * the fragment is cut off; escapes of unreserved characters, `/` and `\` are decoded; `\` becomes `/`; dot segments are
 * removed (RFC 3986 §5.2.4); runs of `/` become one. Kept escapes are written in upper case, and characters that a URI
 * must escape are escaped, so that no two spellings of one path remain. What is forwarded is spelled so too: the application
 * cannot see a `..` that the rules did not see.
 *
 * Beyond Istio, `path` also decodes escapes of the characters that a path segment may hold as they are (`:`, `@`, `$`, …),
 * so that a DENY of `/v1/keys:rotate` holds for `/v1/keys%3Arotate`. `target` keeps those escapes, since to some
 * applications they mean something (`%3B` is not `;` to a servlet container).
 *
 * Refused: an absolute or authority form and `*` (all three name something else than a path here), escapes that are not
 * two hex digits, NUL, characters that no URI holds (controls, space, non-ASCII), and escapes that are not UTF-8, overlong
 * forms included.
 *
 * Not solved, since only the application knows: a second decoding (`%252e` stays), path parameters (`/..;/admin` stays, as
 * in Istio), and letter case. Rules that ALLOW only what is meant are safe against all three; a DENY of one path is not.
 *
 * @param rawTarget The request target as received; attacker-controlled.
 */
export function normalizePath(rawTarget: string): NormalizedPath {
  const problem = whyRefused(rawTarget);
  if (problem !== undefined) return { ok: false, why: problem };
  const [rawPath, query] = splitTarget(rawTarget);
  // Nearly all paths: nothing to do.
  if (plain.test(rawPath) && !rawPath.includes('/.') && !rawPath.includes('//')) {
    return { ok: true, path: rawPath, target: rawPath + query };
  }
  const notEscaped = whyEscapesRefused(rawPath);
  if (notEscaped !== undefined) return { ok: false, why: notEscaped };
  const forwarded = mergeSlashes(removeDotSegments(decodeOnce(rawPath)));
  return { ok: true, path: decodeSegmentCharacters(forwarded), target: forwarded + query };
}

/** Characters that stay as they are at every step. */
const plain = /^[A-Za-z0-9\-._~!$&'()*+,;=:@/]*$/;
const graphic = /^[!-~]*$/;
const unreserved = /^[A-Za-z0-9\-._~]$/;
/** RFC 3986 `pchar` without the unreserved ones. */
const segmentCharacter = /^[!$&'()*+,;=:@]$/;

function whyRefused(target: string): string | undefined {
  if (target === '') return 'the request target is empty';
  // OPTIONS * asks about the server, not about a resource; a sidecar has no answer and no rule can name it.
  if (target === '*') return 'the asterisk form names no path';
  if (!target.startsWith('/')) return 'the request target does not begin with "/"';
  if (!graphic.test(target)) return 'the request target holds a character that a URI must escape';
  return undefined;
}

/** Path, and query with its `?` ('' for none). */
function splitTarget(target: string): readonly [string, string] {
  const hash = target.indexOf('#');
  const whole = hash === -1 ? target : target.slice(0, hash);
  const question = whole.indexOf('?');
  return question === -1 ? [whole, ''] : [whole.slice(0, question), whole.slice(question)];
}

function whyEscapesRefused(path: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return 'the path holds a "%" that two hex digits do not follow';
  if (path.includes('%00')) return 'the path holds an escaped NUL';
  if (/%[89A-Fa-f]/.test(path) && !isUtf8(percentDecoded(path))) return 'the escapes in the path are not UTF-8';
  return undefined;
}

function percentDecoded(path: string): Buffer {
  // `graphic` has seen to it that one character is one byte.
  const latin1 = path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(latin1, 'latin1');
}

/** One pass over the text, so that what an escape decodes to is never taken for the start of another one. */
function decodeOnce(path: string): string {
  return path.replace(/%[0-9A-Fa-f]{2}|\\|["<>^`{|}]/g, (found) => {
    if (found === '\\') return '/';
    if (found.length === 1) return escapeCharacter(found);
    const character = unescapeTriplet(found);
    if (character === '/' || character === '\\') return '/';
    return unreserved.test(character) ? character : found.toUpperCase();
  });
}

/** RFC 3986 §5.2.4, for an absolute path. An empty segment is a segment: `/a//../b` is `/a/b`. */
function removeDotSegments(path: string): string {
  const kept: string[] = [];
  const segments = path.slice(1).split('/');
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    if (segment !== '.' && segment !== '..') {
      kept.push(segment);
      continue;
    }
    if (segment === '..') kept.pop();
    // The path goes on meaning a directory.
    if (last) kept.push('');
  }
  return `/${kept.join('/')}`;
}

function mergeSlashes(path: string): string {
  return path.replace(/\/{2,}/g, '/');
}

function decodeSegmentCharacters(path: string): string {
  return path.replace(/%[0-9A-F]{2}/g, (found) => {
    const character = unescapeTriplet(found);
    return segmentCharacter.test(character) ? character : found;
  });
}

function unescapeTriplet(triplet: string): string {
  return String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
}

function escapeCharacter(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
}
