import { isScalar } from 'yaml';
import { AppError } from '../../base/errors.ts';
import { parseSpiffeId } from '../identity/spiffe-id.ts';
import type { Findings } from './findings.ts';
import { quoted } from './findings.ts';
import { formatMatch, parseMatch } from './match.ts';
import type { StringMatch } from './model.ts';
import { normalizePath } from './path.ts';
import { isTemplate, whyNoTemplate } from './path-template.ts';
import type { Value } from './yaml-reader.ts';
import { readText } from './yaml-reader.ts';

/**
 * The values of a rule. Each reader returns what it read, or `undefined` after reporting why not. They refuse what could
 * never match, since a rule that never matches is a mistake, and in a DENY a dangerous one.
 */
export type ValueReader<T> = (value: Value, findings: Findings) => T | undefined;

/** `example.org/ns/shop/sa/web` and its wildcard forms (reference: rule 10). */
export const readPrincipal: ValueReader<StringMatch> = (value, findings) => {
  const text = readText(value, findings);
  if (text === undefined) return undefined;
  const scheme = text.indexOf('spiffe://');
  if (scheme !== -1) {
    const mended = text.replace('spiffe://', '') || '*';
    findings.add('spiffe-scheme', value, `A principal is written without "spiffe://". Write ${quoted(mended)}.`);
    return undefined;
  }
  const match = readMatch(text, value, findings);
  if (match === undefined) return undefined;
  const problem = whyNoPrincipal(match);
  if (problem === undefined) return match;
  const message = `The principal ${quoted(text)} can match no workload: ${problem}. An example is "example.org/ns/shop/sa/web".`;
  findings.add('invalid-principal', value, message);
  return undefined;
};

/** A namespace and its wildcard forms (reference: rule 11; unlike in Istio no `*` in the middle). */
export const readNamespace: ValueReader<StringMatch> = (value, findings) => {
  const text = readText(value, findings);
  const match = text === undefined ? undefined : readMatch(text, value, findings);
  if (match === undefined || match.kind === 'present' || /^[A-Za-z0-9._-]+$/.test(match.value)) return match;
  const message = `The namespace ${quoted(formatMatch(match))} can match none: a namespace has only letters, digits, ".", "_" and "-".`;
  findings.add('invalid-namespace', value, message);
  return undefined;
};

/** An HTTP method and its wildcard forms; case-sensitive (RFC 9110 §9.1), and all methods in use are upper case. */
export const readMethod: ValueReader<StringMatch> = (value, findings) => {
  const text = readText(value, findings);
  const match = text === undefined ? undefined : readMatch(text, value, findings);
  if (match === undefined || match.kind === 'present') return match;
  if (/^[A-Z0-9!#$%&'+.^_`|~-]+$/.test(match.value)) return match;
  const upper = formatMatch(match).toUpperCase();
  const advice = /^[A-Z*-]+$/.test(upper) ? ` Write ${quoted(upper)}.` : '';
  findings.add(
    'invalid-method',
    value,
    `The method ${quoted(formatMatch(match))} is not an upper-case HTTP token.${advice}`,
  );
  return undefined;
};

/** A path and its wildcard forms, spelled as `normalizePath` spells those of requests. */
export const readPath: ValueReader<StringMatch> = (value, findings) => {
  const text = readText(value, findings);
  if (text === undefined) return undefined;
  if (isTemplate(text)) return readTemplate(text, value, findings);
  const match = readMatch(text, value, findings);
  if (match === undefined || match.kind === 'present' || match.kind === 'template') return match;
  if (match.kind !== 'suffix' && !match.value.startsWith('/')) {
    const message = `The path ${quoted(text)} must begin with "/" or "*". Write ${quoted(`/${text}`)}.`;
    findings.add('invalid-path', value, message);
    return undefined;
  }
  return isNormalized(match, value, findings) ? match : undefined;
};

/** A path with `{*}` and `{**}` segments (reference: rule 21). */
function readTemplate(text: string, value: Value, findings: Findings): StringMatch | undefined {
  const problem = whyNoTemplate(text);
  if (problem !== undefined) {
    findings.add('invalid-template', value, `The path template ${quoted(text)} is written wrongly: ${problem}.`);
    return undefined;
  }
  const filled = text.replaceAll('{**}', 'x').replaceAll('{*}', 'x');
  return isNormalized({ kind: 'exact', value: filled }, value, findings)
    ? { kind: 'template', value: text }
    : undefined;
}

/** 1 to 65535; a string, as Istio writes it, or a number. */
export const readPort: ValueReader<number> = (value, findings) => {
  const { node } = value;
  // As it was written: 0x50 and 8e1 are numbers to YAML, but not ports.
  const text = isScalar(node) && typeof node.value === 'number' ? node.source : readText(value, findings);
  if (text === undefined) return undefined;
  const port = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65535) return port;
  findings.add(
    'invalid-port',
    value,
    `The port ${quoted(text)} is not a number from 1 to 65535. Ports have no wildcards.`,
  );
  return undefined;
};

export function readMatch(text: string, value: Value, findings: Findings): StringMatch | undefined {
  const match = parseMatch(text);
  if (match === undefined) {
    const message = `In ${quoted(text)} the "*" does not stand alone, first or last, or there are two; Istio would take it literally. Write "*", "*suffix", "prefix*", or the exact value.`;
    findings.add('wildcard-in-middle', value, message);
  }
  return match;
}

function whyNoPrincipal(match: StringMatch): string | undefined {
  if (match.kind === 'present') return undefined;
  if (match.kind !== 'exact') {
    if (!/^[A-Za-z0-9._/-]+$/.test(match.value)) return 'a SPIFFE ID has only letters, digits, ".", "_", "-" and "/"';
    if (match.value.includes('//')) return 'a SPIFFE ID has no empty path segment';
    if (match.kind === 'prefix' && !/^[a-z0-9._-]+(\/|$)/.test(match.value)) {
      return 'it must begin with a trust domain, in lower case';
    }
    return match.kind === 'suffix' && match.value.endsWith('/') ? 'a SPIFFE ID does not end in "/"' : undefined;
  }
  try {
    return parseSpiffeId(`spiffe://${match.value}`).path === '' ? 'the path of the SPIFFE ID is missing' : undefined;
  } catch (error) {
    if (error instanceof AppError) return error.message.replace(/\.$/, '');
    throw error;
  }
}

/** A part of a path is tried with something where its wildcard is. */
function isNormalized(
  match: Exclude<StringMatch, { kind: 'present' | 'template' }>,
  value: Value,
  findings: Findings,
): boolean {
  const written = formatMatch(match);
  const [before, after] = match.kind === 'exact' ? ['', ''] : match.kind === 'prefix' ? ['', 'x'] : ['/x', ''];
  const tried = before + match.value + after;
  if (/[?#]/.test(match.value)) {
    const message = `The path ${quoted(written)} holds a "?" or "#", but query and fragment are not part of what is compared. Leave them out.`;
    findings.add('invalid-path', value, message);
    return false;
  }
  const normalized = normalizePath(tried);
  if (!normalized.ok) {
    const escaped = match.value.isWellFormed() ? encodeURI(match.value) : match.value;
    const advice = normalizePath(before + escaped + after).ok
      ? ` Write ${quoted(formatMatch({ ...match, value: escaped }))}.`
      : '';
    findings.add(
      'invalid-path',
      value,
      `The path ${quoted(written)} can match no request: ${normalized.why}.${advice}`,
    );
    return false;
  }
  if (normalized.path === tried) return true;
  const mended = normalized.path.slice(before.length, normalized.path.length - after.length);
  const advice =
    normalized.path.startsWith(before) && mended !== ''
      ? ` Write ${quoted(formatMatch({ ...match, value: mended }))}.`
      : '';
  findings.add(
    'path-not-normalized',
    value,
    `The path ${quoted(written)} can match no request, since paths are normalised before they are compared.${advice}`,
  );
  return false;
}
