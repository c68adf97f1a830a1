import { AppError } from '../../base/errors.ts';
import { MAX_SPIFFE_ID_BYTES, parseSpiffeId, workloadOf } from './spiffe-id.ts';
import type { WorkloadEntry } from './workload-entry.ts';

/**
 * A SPIFFE ID with variables: `spiffe://example.org/ns/{{k8s.ns}}/sa/{{k8s.sa}}`, so that one entry names a thousand services.
 * A variable `{{type.key}}` is the value of the one selector `type:key:VALUE` that the workload shows.
 *
 * Selectors are what an agent says, and an agent may be taken over. So a template is bounded: the trust domain and the first
 * segment of the path are literal (no value reaches another trust domain, or /writ/), and below /ns/ the namespace is literal
 * or one of the entry's `namespaces`. A value is never more than one segment.
 */
export interface Template {
  readonly text: string;
  readonly trustDomain: string;
  readonly segments: readonly Segment[];
  /** Names of the variables, each once, in order of appearance: `k8s.ns`. */
  readonly variables: readonly string[];
  /** Name of the variable that is the namespace of /ns/<namespace>/…; undefined where none is. */
  readonly namespaceVariable: string | undefined;
}

/** `variable` undefined: the segment is `prefix`, literally. */
export interface Segment {
  readonly prefix: string;
  readonly variable: string | undefined;
  readonly suffix: string;
}

export const MAX_TEMPLATE_VARIABLES = 8;
export const MAX_VARIABLE_NAME_LENGTH = 256;

/** RFC 1123: the names in /ns/<namespace>/sa/<service> become parts of host names. */
export const dnsLabel = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

const scheme = 'spiffe://';
const variableName = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-][A-Za-z0-9_.:/-]*$/;
const pathSegment = /^[a-zA-Z0-9._-]+$/;
const segmentRest = /^[a-zA-Z0-9._-]*$/;

/** Whether it is one, or means to be. Whatever has a brace is no SPIFFE ID. */
export function isTemplate(spiffeId: string): boolean {
  return spiffeId.includes('{{');
}

/**
 * Parses a template strictly.
 *
 * @throws AppError `invalid`
 */
export function parseTemplate(text: string): Template {
  if (text.length > MAX_SPIFFE_ID_BYTES) throw refuse(`it is longer than ${MAX_SPIFFE_ID_BYTES} bytes`);
  if (!text.startsWith(scheme)) throw refuse(`it must begin with ${scheme} in lower case`);
  // Not by slashes: a variable may hold one, as in {{k8s.pod-label:app.kubernetes.io/name}}.
  const [origin = '', ...texts] = splitOutsideBraces(text.slice(scheme.length));
  if (origin.includes('{') || origin.includes('}')) throw refuse('the trust domain must not have a variable');
  const { trustDomain } = parseSpiffeId(`${scheme}${origin}`);
  const segments = texts.map(parseSegment);
  const variables = new Set(segments.flatMap(({ variable }) => (variable === undefined ? [] : [variable])));
  if (variables.size === 0) throw refuse('it has no variable such as {{k8s.sa}}');
  if (variables.size > MAX_TEMPLATE_VARIABLES) throw refuse(`it has more than ${MAX_TEMPLATE_VARIABLES} variables`);
  const [first, second] = segments;
  if (first === undefined || first.variable !== undefined) {
    throw refuse('the first segment of its path must not have a variable');
  }
  return Object.freeze({
    text,
    trustDomain,
    segments: Object.freeze(segments),
    variables: Object.freeze([...variables]),
    namespaceVariable: first.prefix === 'ns' && second !== undefined ? namespaceOf(second) : undefined,
  });
}

/**
 * The SPIFFE ID of an entry, variables filled in: exactly those of its template, none for an entry that is no template.
 *
 * @param variables as an agent sends them: attacker-controlled
 * @throws AppError `forbidden`
 */
export function resolveTemplate(
  entry: Pick<WorkloadEntry, 'spiffeId' | 'namespaces'>,
  variables: Readonly<Record<string, string>>,
): string {
  const template = isTemplate(entry.spiffeId) ? parseTemplate(entry.spiffeId) : undefined;
  const names = template?.variables ?? [];
  const superfluous = Object.keys(variables).some((name) => !names.includes(name));
  if (superfluous) throw forbid('it has no variable of a name that was given');
  if (template === undefined) return entry.spiffeId;
  for (const name of names) {
    if (!Object.hasOwn(variables, name)) throw forbid(`the value of {{${name}}} is missing`);
  }
  const spiffeId = fill(template, entry.namespaces, (name) => variables[name]);
  if (spiffeId === undefined) throw forbid('a value is outside the bounds of its template');
  return spiffeId;
}

/** The SPIFFE ID that the values make; undefined when a value is missing, is no path segment, or is out of bounds. */
export function fill(
  template: Template,
  namespaces: readonly string[],
  read: (variable: string) => string | undefined,
): string | undefined {
  let path = '';
  for (const { prefix, variable, suffix } of template.segments) {
    let segment = prefix;
    if (variable !== undefined) {
      const value = read(variable);
      if (value === undefined || !isPathSegment(value)) return undefined;
      if (variable === template.namespaceVariable && !namespaces.includes(value)) return undefined;
      segment = `${prefix}${value}${suffix}`;
    }
    // '.' and '..' can also come about by a literal beside a value.
    if (!isPathSegment(segment)) return undefined;
    path += `/${segment}`;
  }
  if (scheme.length + template.trustDomain.length + path.length > MAX_SPIFFE_ID_BYTES) return undefined;
  const uri = `${scheme}${template.trustDomain}${path}`;
  const workload = workloadOf({ trustDomain: template.trustDomain, path, uri });
  if (workload !== undefined && !(dnsLabel.test(workload.namespace) && dnsLabel.test(workload.service))) {
    return undefined;
  }
  return uri;
}

/** The variables that give this SPIFFE ID, by name; undefined when none do. */
export function matchTemplate(
  entry: Pick<WorkloadEntry, 'spiffeId' | 'namespaces'>,
  spiffeId: string,
): Readonly<Record<string, string>> | undefined {
  const template = parseTemplate(entry.spiffeId);
  const origin = `${scheme}${template.trustDomain}/`;
  if (!spiffeId.startsWith(origin)) return undefined;
  const segments = spiffeId.slice(origin.length).split('/');
  if (segments.length !== template.segments.length) return undefined;
  const variables = new Map<string, string>();
  for (const [index, { prefix, variable, suffix }] of template.segments.entries()) {
    const segment = segments[index] ?? '';
    if (variable === undefined) {
      if (segment !== prefix) return undefined;
      continue;
    }
    if (segment.length < prefix.length + suffix.length) return undefined;
    if (!segment.startsWith(prefix) || !segment.endsWith(suffix)) return undefined;
    const value = segment.slice(prefix.length, segment.length - suffix.length);
    if ((variables.get(variable) ?? value) !== value) return undefined;
    variables.set(variable, value);
  }
  if (fill(template, entry.namespaces, (name) => variables.get(name)) !== spiffeId) return undefined;
  return Object.freeze(Object.fromEntries(variables));
}

export function isPathSegment(text: string): boolean {
  return text !== '.' && text !== '..' && text.length <= MAX_SPIFFE_ID_BYTES && pathSegment.test(text);
}

/** `a/{{x.y/z}}b/c` → `a`, `{{x.y/z}}b`, `c`. */
function splitOutsideBraces(text: string): string[] {
  const parts: string[] = [];
  let start = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (text.startsWith('{{', at)) {
      const end = text.indexOf('}}', at);
      if (end === -1) throw refuse('a {{ has no }}');
      at = end + 1;
    } else if (text[at] === '/') {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

function parseSegment(text: string): Segment {
  const open = text.indexOf('{{');
  if (open === -1) {
    if (!isPathSegment(text)) {
      throw refuse(
        'a path segment may have only letters, digits, dots, dashes and underscores, and is not "." or ".."',
      );
    }
    return Object.freeze({ prefix: text, variable: undefined, suffix: '' });
  }
  const close = text.indexOf('}}', open);
  const prefix = text.slice(0, open);
  const variable = text.slice(open + 2, close);
  const suffix = text.slice(close + 2);
  if (!isVariableName(variable)) throw refuse('a variable must read {{type.key}}, such as {{k8s.sa}}');
  // Two in one segment could be told apart in several ways, so two workloads could claim one name.
  if (suffix.includes('{{')) throw refuse('a path segment may have only one variable');
  if (!segmentRest.test(prefix) || !segmentRest.test(suffix)) {
    throw refuse('a path segment may have only letters, digits, dots, dashes and underscores besides its variable');
  }
  return Object.freeze({ prefix, variable, suffix });
}

function isVariableName(text: string): boolean {
  return text.length <= MAX_VARIABLE_NAME_LENGTH && variableName.test(text);
}

function namespaceOf(segment: Segment): string | undefined {
  if (segment.variable === undefined) return undefined;
  if (segment.prefix !== '' || segment.suffix !== '') {
    throw refuse('the namespace, which follows /ns/, must be a name or a variable, not both in one');
  }
  return segment.variable;
}

function refuse(why: string): AppError {
  // The text itself is not repeated: it can be long.
  return new AppError('invalid', `This is not a template of SPIFFE IDs: ${why}.`);
}

function forbid(why: string): AppError {
  return new AppError('forbidden', `The entry does not allow this identity: ${why}.`);
}
