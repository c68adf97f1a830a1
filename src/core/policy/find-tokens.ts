import { unreachable } from '../../base/errors.ts';
import { canonical } from './token-places.ts';
import type { TokenPlace, UserTokenRule } from './user-token-rules.ts';

/** A text that stands where a token does, and what may be said about it there. */
export interface FoundToken {
  readonly text: string;
  readonly place: TokenPlace;
  /** Those whose token it may be. */
  readonly rules: readonly UserTokenRule[];
}

/**
 * Everything that stands where tokens do, so that none is overlooked that an application would find: names in any letter
 * case, `_` for `-` in those of fields, fields and parameters that stand several times, parameters behind `;`.
 *
 * @param fields of the request, name and value alternating
 * @param target request target, with its query
 */
export function findTokens(
  places: readonly TokenPlace[],
  fields: readonly string[],
  target: string,
): readonly FoundToken[] {
  return places.flatMap((place) =>
    textsAt(place, fields, target)
      // A place that is empty holds no token.
      .filter((text) => text !== '')
      .map((text) => ({ text, place, rules: place.rules })),
  );
}

function textsAt(place: TokenPlace, fields: readonly string[], target: string): readonly string[] {
  switch (place.in) {
    case 'header':
      return valuesOf(fields, place.name).flatMap((value) => behindPrefix(value, place.prefix) ?? []);
    case 'parameter':
      return parametersOf(target).flatMap((parameter) => (parameter.name === place.name ? [parameter.value] : []));
    case 'cookie':
      return valuesOf(fields, 'cookie').flatMap((value) =>
        crumbsOf(value).flatMap((crumb) => (crumb.name === place.name ? [crumb.value] : [])),
      );
    default:
      return unreachable(place);
  }
}

/** In the order of the fields; `name` in its canonical spelling. */
function valuesOf(fields: readonly string[], name: string): readonly string[] {
  const values: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (canonical(fields[i] ?? '') === name) values.push(fields[i + 1] ?? '');
  }
  return values;
}

/**
 * What follows a prefix, without the white space around it; undefined for a value that does not begin with it. Letter case
 * does not matter (RFC 9110 §11.1), nor how wide the gap is: some application reads it as kindly.
 */
export function behindPrefix(value: string, prefix: string): string | undefined {
  const trimmed = value.trim();
  const word = prefix.trimEnd();
  if (trimmed.slice(0, word.length).toLowerCase() !== word.toLowerCase()) return undefined;
  const rest = trimmed.slice(word.length);
  // `Bearerabc` is another scheme, unless the prefix ends without a gap; alone it carries no token.
  if (word !== prefix && rest !== '' && !/^[\s,]/.test(rest)) return undefined;
  return rest.trim();
}

interface Parameter {
  readonly name: string;
  readonly value: string;
}

function parametersOf(target: string): readonly Parameter[] {
  return segmentsOf(target).map(readParameter);
}

/** The query cut at every sign that some application cuts it at. */
function segmentsOf(target: string): readonly string[] {
  const start = target.indexOf('?');
  return start === -1 ? [] : target.slice(start + 1).split(/[&;]/);
}

function readParameter(segment: string): Parameter {
  const equals = segment.indexOf('=');
  const name = equals === -1 ? segment : segment.slice(0, equals);
  return { name: decoded(name), value: equals === -1 ? '' : decoded(segment.slice(equals + 1)) };
}

/** As forms are (application/x-www-form-urlencoded); what is not well encoded stands for itself. */
function decoded(text: string): string {
  if (!text.includes('%') && !text.includes('+')) return text;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

/** A `Cookie` value (RFC 6265 §4.2.1); a value may be quoted. */
function crumbsOf(value: string): readonly Parameter[] {
  return value.split(/[;,]/).map((crumb) => {
    const equals = crumb.indexOf('=');
    const text = equals === -1 ? '' : crumb.slice(equals + 1).trim();
    return { name: crumb.slice(0, equals === -1 ? undefined : equals).trim(), value: unquoted(text) };
  });
}

function unquoted(text: string): string {
  return text.length >= 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
}

/** The target without the parameters of a name; the rest as it was. */
export function withoutParameter(target: string, name: string): string {
  const start = target.indexOf('?');
  if (start === -1) return target;
  const rest = withoutSegments(target.slice(start + 1), /[&;]/, (segment) => readParameter(segment).name === name);
  return rest === '' ? target.slice(0, start) : `${target.slice(0, start)}?${rest}`;
}

/** A `Cookie` value without the cookies of a name, the rest as it was; '' when none is left. */
export function withoutCookie(value: string, name: string): string {
  return withoutSegments(value, /[;,]/, (crumb) => crumb.split('=', 1)[0]?.trim() === name).trim();
}

/** What is left keeps the sign that stood before it. */
function withoutSegments(text: string, signs: RegExp, goes: (segment: string) => boolean): string {
  let out = '';
  let sign = '';
  let first = true;
  for (let rest = text; ; ) {
    const at = rest.search(signs);
    const segment = at === -1 ? rest : rest.slice(0, at);
    if (!goes(segment)) {
      out += first ? segment : `${sign}${segment}`;
      first = false;
    }
    if (at === -1) return out;
    sign = rest.charAt(at);
    rest = rest.slice(at + 1);
  }
}
