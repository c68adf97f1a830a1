import { attributeOf, parseValue } from './attributes.ts';
import { formatMatch } from './match.ts';
import type { Condition, Operation, Policy, Rule, Source, StringMatch } from './model.ts';
import type { RateLimit } from './rate-limit.ts';

/** The trust domains that count as one (reference: rules 39 to 41). */
export interface TrustDomains {
  readonly own: string;
  /** Names that policies may still use for it, and that callers may still have, after it was renamed. */
  readonly aliases: readonly string[];
}

/** In the policies of people who never gave their trust domain a name: whatever it is called. */
export const UNNAMED_TRUST_DOMAIN = 'cluster.local';

/**
 * A policy whose principals and trust domains are written out for every trust domain that counts as the same. The same value
 * when nothing changes. Namespaces and service accounts are those of every trust domain anyway.
 *
 * Whether a caller of an alias is let in at all is decided before, by the bundles that its certificate is verified with.
 */
export function expandAliases(policy: Policy, domains: TrustDomains): Policy {
  const all = [...new Set([domains.own, ...domains.aliases])];
  const rules = expandEach(policy.rules, (rule) => expandRule(rule, all));
  return rules === policy.rules ? policy : Object.freeze({ ...policy, rules });
}

/** The same for those whom a rate limit names. */
export function expandRateLimit(limit: RateLimit, domains: TrustDomains): RateLimit {
  const all = [...new Set([domains.own, ...domains.aliases])];
  const overrides = limit.overrides.map((each) => {
    const texts = each.principals.map(formatMatch);
    const expanded = expandAll(texts, (text) => expandPrincipal(text, all));
    return expanded === texts ? each : Object.freeze({ ...each, principals: expanded.map(asMatch) });
  });
  if (overrides.every((each, index) => each === limit.overrides[index])) return limit;
  return Object.freeze({ ...limit, overrides: Object.freeze(overrides) });
}

function expandRule(rule: Rule, domains: readonly string[]): Rule {
  const from = expandEach(rule.from, (source) => expandSource(source, domains));
  // Of egress, who is called stands there.
  const to = expandEach(rule.to, (operation) => expandOperation(operation, domains));
  const when = rule.when && expandEach(rule.when, (condition) => expandCondition(condition, domains));
  if (from === rule.from && to === rule.to && when === rule.when) return rule;
  return Object.freeze({ from, to, ...(when !== undefined && { when }) });
}

function expandOperation(operation: Operation, domains: readonly string[]): Operation {
  const where = operation.where && expandEach(operation.where, (condition) => expandCondition(condition, domains));
  return where === undefined || where === operation.where ? operation : Object.freeze({ ...operation, where });
}

/** The same list when every item stays as it is. */
function expandEach<T>(items: readonly T[], expand: (item: T) => T): readonly T[] {
  const all = items.map(expand);
  return all.every((item, index) => item === items[index]) ? items : Object.freeze(all);
}

function expandSource(source: Source, domains: readonly string[]): Source {
  const texts = source.principals.map(formatMatch);
  const expanded = expandAll(texts, (text) => expandPrincipal(text, domains));
  const where = source.where && expandEach(source.where, (condition) => expandCondition(condition, domains));
  if (expanded === texts && where === source.where) return source;
  return Object.freeze({
    ...source,
    principals: expanded === texts ? source.principals : expanded.map(asMatch),
    ...(where !== undefined && { where }),
  });
}

function expandCondition(condition: Condition, domains: readonly string[]): Condition {
  const expand =
    condition.key === 'source.principal'
      ? expandPrincipal
      : condition.key === 'source.trustDomain'
        ? expandTrustDomain
        : undefined;
  if (expand === undefined) return condition;
  const values = expandAll(condition.values, (text) => expand(text, domains));
  const notValues = expandAll(condition.notValues, (text) => expand(text, domains));
  if (values === condition.values && notValues === condition.notValues) return condition;
  return Object.freeze({ ...condition, values, notValues });
}

/** The same list when every text stays as it is. */
function expandAll(texts: readonly string[], expand: (text: string) => readonly string[]): readonly string[] {
  const all = texts.map(expand);
  if (all.every((some, index) => some.length === 1 && some[0] === texts[index])) return texts;
  return [...new Set(all.flat())];
}

function expandTrustDomain(text: string, domains: readonly string[]): readonly string[] {
  return domains.includes(text) || text === UNNAMED_TRUST_DOMAIN ? domains : [text];
}

/** Only `<trust domain>/ns/<namespace>/sa/<service account>`, wildcards included. */
function expandPrincipal(text: string, domains: readonly string[]): readonly string[] {
  const [domain = '', ...rest] = text.split('/');
  if (rest.length !== 4 || domain === '*') return [text];
  const at = (each: string) => [each, ...rest].join('/');
  if (domains.includes(domain) || domain === UNNAMED_TRUST_DOMAIN) return domains.map(at);
  if (!domain.startsWith('*')) return [text];
  const suffix = domain.slice(1);
  // A second wildcard, at the end, would have been refused.
  const others = domains.filter((each) => !each.endsWith(suffix));
  return others.length === domains.length ? [text] : [text, ...others.map(at)];
}

const principal = attributeOf('source.principal');

function asMatch(text: string): StringMatch {
  const match = principal === undefined ? undefined : parseValue(principal, text);
  // It was one before its trust domain was replaced.
  if (match === undefined) throw new Error('a principal is no longer one');
  return match;
}
