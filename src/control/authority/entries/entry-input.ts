import type { Finding } from '../../../base/errors.ts';
import { AppError } from '../../../base/errors.ts';
import { MAX_DNS_NAMES, overlapOf, problemOfDnsName } from '../../../core/identity/dns-name.ts';
import type { Json } from '../../../core/identity/jwt-claims.ts';
import { problemsOfClaims } from '../../../core/identity/jwt-claims.ts';
import { parseTrustDomain } from '../../../core/identity/spiffe-id.ts';
import { compareText } from '../../store/compare.ts';
import type { CheckedName, Refuse } from './entry-name.ts';
import { checkName, checkNamespaces, checkParent } from './entry-name.ts';
import { checkLabels } from './label-input.ts';

/** What an administrator says about an entry. */
export interface EntryInput {
  /**
   * Of the own trust domain, not below /writ. In `/ns/<namespace>/sa/<service>` both names are DNS labels. Or a template:
   * `/ns/{{k8s.ns}}/sa/{{k8s.sa}}` (see `core/identity/template.ts`).
   */
  readonly spiffeId: string;
  /**
   * Who serves it: the SPIFFE ID of an agent, one that an alias gives to agents, or the control plane's own for whoever
   * attests directly. Default (null): nobody, the entry is for join tokens.
   */
  readonly parentId?: string | null | undefined;
  /** What a workload must show to get this identity: `<type>:<value>`, at most 64; at least one below a parent. Default none. */
  readonly selectors?: readonly string[] | undefined;
  /** The namespaces of a template that has a variable there, by exact name, at most 256. */
  readonly namespaces?: readonly string[] | undefined;
  /**
   * What policies select workloads by: Kubernetes syntax, at most 64. They belong to the SPIFFE ID: its other entries have
   * the same. Default: those of its other entries, else none.
   */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Lifetime of its certificates, 60 to 86,400 seconds. Default (null): the authority's. */
  readonly x509TtlSeconds?: number | null | undefined;
  /** Lifetime of its JWTs, 30 to 3,600 seconds. Default (null): the authority's. */
  readonly jwtTtlSeconds?: number | null | undefined;
  /** Host names in its certificates: lower case, at most 16, a leading wildcard allowed, none covering another. Default none. */
  readonly dnsNames?: readonly string[] | undefined;
  /** Other trust domains whose bundles the workload gets, at most 32. Default none. */
  readonly federatesWith?: readonly string[] | undefined;
  /** Tells several identities of one workload apart: at most 1,024 bytes. Default none. */
  readonly hint?: string | undefined;
  /** Milliseconds since the epoch. From then on it is as if the entry were not there. Default (null): never. */
  readonly expiresAt?: number | null | undefined;
  /** More claims of its JWTs: at most 32, of 4,096 characters together. Default (null): none. */
  readonly jwtClaims?: Readonly<Record<string, Json>> | null | undefined;
}

/** An `EntryInput` that has been checked. Lists that are sets are sorted, so that the same content is the same text. */
export interface EntrySpec {
  readonly spiffeId: string;
  readonly isTemplate: boolean;
  /** Of the SPIFFE ID; empty where it has none, or has it by a variable. */
  readonly namespace: string;
  readonly parentId: string | null;
  readonly selectors: readonly string[];
  readonly namespaces: readonly string[];
  /** undefined: those of the other entries. */
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly x509TtlSeconds: number | null;
  readonly jwtTtlSeconds: number | null;
  /** In the order given: it is that of the certificate. */
  readonly dnsNames: readonly string[];
  readonly federatesWith: readonly string[];
  readonly hint: string;
  readonly expiresAt: number | null;
  readonly jwtClaims: Readonly<Record<string, Json>> | null;
}

const MAX_SELECTORS = 64;
const MAX_SELECTOR_CHARACTERS = 512;
const MAX_FEDERATED = 32;
/** SPIFFE_Workload_API.md §8. */
const MAX_HINT_BYTES = 1024;
const x509TtlRange = { min: 60, max: 86_400 };
const jwtTtlRange = { min: 30, max: 3_600 };
/** The last millisecond of the year 9999: RFC 3339 has no later one. */
const MAX_TIME = 253_402_300_799_999;
const selector = /^[A-Za-z0-9_-]+:[^\p{Cc}]+$/u;

/** Checks an entry whole. Throws `invalid` with one detail for each thing that is wrong. */
export function checkEntryInput(input: EntryInput, trustDomain: string): EntrySpec {
  const findings: Finding[] = [];
  const refuse: Refuse = (pointer, message) => findings.push({ code: 'invalid', pointer, message });

  const name = checkName(input.spiffeId, trustDomain, refuse);
  checkParent(input, name, trustDomain, refuse);
  checkSelectors(input.selectors ?? [], refuse);
  if (input.parentId != null && (input.selectors ?? []).length === 0) {
    refuse('/selectors', 'must have at least one item, since the entry has a parent that would serve it to anybody');
  }
  checkNamespaces(input.namespaces ?? [], name, refuse);
  checkLabels(input.labels ?? {}, refuse);
  checkTtl(input.x509TtlSeconds, x509TtlRange, (message) => refuse('/x509TtlSeconds', message));
  checkTtl(input.jwtTtlSeconds, jwtTtlRange, (message) => refuse('/jwtTtlSeconds', message));
  checkDnsNames(input.dnsNames ?? [], refuse);
  checkFederated(input.federatesWith ?? [], trustDomain, refuse);
  checkHint(input.hint ?? '', refuse);
  checkTime(input.expiresAt, refuse);
  checkClaims(input.jwtClaims ?? {}, name, refuse);

  if (name === undefined || findings.length > 0) {
    const what = findings.map((finding) => `${finding.pointer} ${finding.message}`).join('; ');
    throw new AppError('invalid', `The entry is not valid: ${what}.`, { details: findings });
  }
  return toSpec(input, name);
}

function toSpec(input: EntryInput, name: CheckedName): EntrySpec {
  const claims = sortedObject(input.jwtClaims ?? {});
  return Object.freeze({
    spiffeId: name.text,
    isTemplate: name.template !== undefined,
    namespace: name.namespace,
    parentId: input.parentId ?? null,
    selectors: sorted(input.selectors),
    namespaces: sorted(input.namespaces),
    labels: input.labels === undefined ? undefined : sortedObject(input.labels),
    x509TtlSeconds: input.x509TtlSeconds ?? null,
    jwtTtlSeconds: input.jwtTtlSeconds ?? null,
    dnsNames: Object.freeze([...(input.dnsNames ?? [])]),
    federatesWith: sorted(input.federatesWith),
    hint: input.hint ?? '',
    expiresAt: input.expiresAt ?? null,
    jwtClaims: Object.keys(claims).length === 0 ? null : claims,
  });
}

function sorted(texts: readonly string[] | undefined): readonly string[] {
  return Object.freeze([...(texts ?? [])].sort(compareText));
}

function sortedObject<T>(object: Readonly<Record<string, T>>): Readonly<Record<string, T>> {
  return Object.freeze(Object.fromEntries(Object.entries(object).sort(([a], [b]) => compareText(a, b))));
}

function checkSelectors(selectors: readonly string[], refuse: Refuse): void {
  if (selectors.length > MAX_SELECTORS) {
    refuse('/selectors', `must have at most ${MAX_SELECTORS} items`);
    return;
  }
  for (const [index, text] of selectors.entries()) {
    if (text.length > MAX_SELECTOR_CHARACTERS || !selector.test(text)) {
      refuse(
        `/selectors/${index}`,
        `must read <type>:<value> without control characters, at most ${MAX_SELECTOR_CHARACTERS} characters long`,
      );
    } else if (selectors.indexOf(text) !== index) {
      refuse(`/selectors/${index}`, 'must not repeat another selector');
    }
  }
}

/** S16. */
function checkDnsNames(names: readonly string[], refuse: Refuse): void {
  if (names.length > MAX_DNS_NAMES) {
    refuse('/dnsNames', `must have at most ${MAX_DNS_NAMES} items`);
    return;
  }
  for (const [index, name] of names.entries()) {
    const problem = problemOfDnsName(name);
    if (problem !== undefined) refuse(`/dnsNames/${index}`, problem);
    else if (names.indexOf(name) !== index) refuse(`/dnsNames/${index}`, 'must not repeat another name');
  }
  const overlap = overlapOf(names);
  if (overlap !== undefined) {
    const [wildcard, covered] = overlap;
    refuse(`/dnsNames/${names.indexOf(covered)}`, `must not be a name that ${wildcard} covers already`);
  }
}

/** S16. */
function checkFederated(domains: readonly string[], trustDomain: string, refuse: Refuse): void {
  if (domains.length > MAX_FEDERATED) {
    refuse('/federatesWith', `must have at most ${MAX_FEDERATED} items`);
    return;
  }
  for (const [index, domain] of domains.entries()) {
    const pointer = `/federatesWith/${index}`;
    if (!isTrustDomain(domain)) refuse(pointer, 'must be the name of a trust domain, such as other.example.org');
    else if (domain === trustDomain) refuse(pointer, 'must not be our own trust domain, whose bundle everybody gets');
    else if (domains.indexOf(domain) !== index) refuse(pointer, 'must not repeat another trust domain');
  }
}

function isTrustDomain(text: string): boolean {
  try {
    return parseTrustDomain(text) === text;
  } catch {
    return false;
  }
}

function checkHint(hint: string, refuse: Refuse): void {
  if (Buffer.byteLength(hint) > MAX_HINT_BYTES || /\p{Cc}/u.test(hint) || !hint.isWellFormed()) {
    refuse('/hint', `must be at most ${MAX_HINT_BYTES} bytes without control characters`);
  }
}

function checkTime(time: number | null | undefined, refuse: Refuse): void {
  if (time === null || time === undefined) return;
  if (!Number.isInteger(time) || time < 1 || time > MAX_TIME)
    refuse('/expiresAt', 'must be a time up to the year 9999');
}

function checkClaims(claims: Readonly<Record<string, Json>>, name: CheckedName | undefined, refuse: Refuse): void {
  for (const { claim, message } of problemsOfClaims(claims, name?.template?.variables ?? [])) {
    const pointer = claim === undefined ? '' : `/${claim.slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1')}`;
    refuse(`/jwtClaims${pointer}`, message);
  }
}

function checkTtl(
  value: number | null | undefined,
  range: { readonly min: number; readonly max: number },
  refuse: (message: string) => void,
): void {
  if (value === null || value === undefined) return;
  if (!Number.isInteger(value) || value < range.min || value > range.max) {
    refuse(`must be a whole number from ${range.min} to ${range.max}`);
  }
}
