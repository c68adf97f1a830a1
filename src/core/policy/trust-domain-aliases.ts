import { attributeOf, parseValue } from './attributes.ts';
import { formatMatch } from './match.ts';
import type { Condition, Policy, Rule, Source, StringMatch } from './model.ts';
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
  const rules = policy.rules.map((rule) => expandRule(rule, all));
  if (rules.every((rule, index) => rule === policy.rules[index])) return policy;
  return Object.freeze({ ...policy, rules: Object.freeze(rules) });
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
  const from = rule.from.map((source) => expandSource(source, domains));
  const when = rule.when?.map((condition) => expandCondition(condition, domains));
  const same =
    from.every((source, index) => source === rule.from[index]) &&
    (when === undefined || when.every((condition, index) => condition === rule.when?.[index]));
  return same ? rule : Object.freeze({ ...rule, from, ...(when !== undefined && { when }) });
}

function expandSource(source: Source, domains: readonly string[]): Source {
  const texts = source.principals.map(formatMatch);
  const expanded = expandAll(texts, (text) => expandPrincipal(text, domains));
  const where = source.where?.map((condition) => expandCondition(condition, domains));
  const same = expanded === texts && (where === undefined || where.every((each, i) => each === source.where?.[i]));
  if (same) return source;
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
