import { unreachable } from '../../base/errors.ts';
import { compileRule } from './compiled-rule.ts';
import type { Decision, Policy } from './model.ts';
import { ruleId } from './model.ts';
import type { IndexNode } from './rule-index.ts';
import { buildIndex } from './rule-index.ts';
import type { Uses } from './uses.ts';
import { usesOf } from './uses.ts';

/** The policies of one workload, made ready for `decide`. Immutable. */
export interface CompiledPolicies {
  /** Revision of the snapshot that they came with. */
  readonly revision: number;
  readonly base: RuleTables;
  /** Policies that have come since the base was compiled; undefined for none. */
  readonly recent: RuleTables | undefined;
  /** Of the base, those that are no longer there. */
  readonly gone: Gone;
  /** What of a call any of them looks at. */
  readonly uses: Uses;
  /** Whom CUSTOM policies name, in order. */
  readonly providers: readonly string[];
}

/** Which rules are weighed together. */
export const tables = ['deny', 'allow', 'audit', 'shadowDeny', 'shadowAllow'] as const;
export type Table = (typeof tables)[number];

export interface RuleTables extends Readonly<Record<Table, CompiledRules>> {
  readonly policies: ReadonlySet<Policy>;
  /** CUSTOM policies by the authorizer that they name. */
  readonly custom: ReadonlyMap<string, CompiledRules>;
}

export interface CompiledRules {
  readonly index: IndexNode | undefined;
  /** By rule order: what a match of that rule decides. */
  readonly decisions: readonly Decision[];
  /** By rule order: whose rule it is. */
  readonly owners: readonly Policy[];
}

/** Orders of rules. */
export interface Gone extends Readonly<Partial<Record<Table, ReadonlySet<number>>>> {
  readonly custom?: ReadonlyMap<string, ReadonlySet<number>>;
}

/** So many changes are kept beside the base before it is made anew: they cost a second lookup, and time at every change. */
const MAX_RECENT = 128;

/**
 * Compiles policies that all apply to one workload and one direction; whether they do is `selects`, and is not asked again here.
 *
 * Of several rules that match, a DENY decides before an ALLOW, then the order of (namespace, name, rule index), whatever
 * the order of `policies`. Takes time and memory in proportion to the number of values in the rules.
 *
 * @param policies Parsed or received and checked: patterns are not empty.
 * @param previous What was compiled before. Policies that are the same values as then are not compiled again, so that a small
 *   change of a large set is quick. It decides the same with and without.
 * @throws AppError `invalid` for a condition that is not understood
 */
export function compile(
  policies: readonly Policy[],
  revision: number,
  previous?: CompiledPolicies | undefined,
): CompiledPolicies {
  const { base, recent, gone } = (previous && changed(policies, previous.base)) ?? {
    base: compileTables(policies),
    recent: undefined,
    gone: {},
  };
  const providers = [...new Set([...base.custom.keys(), ...(recent?.custom.keys() ?? [])])].sort(compareText);
  return Object.freeze({ revision, base, recent, gone, uses: usesOf(policies), providers: Object.freeze(providers) });
}

/** CUSTOM first, then DENY, ALLOW, AUDIT; then by namespace and name, compared by code unit: the same on every machine. */
export function inDecidingOrder(policies: readonly Policy[]): readonly Policy[] {
  return policies.toSorted((a, b) => rank[a.action] - rank[b.action] || comparePlace(a, b));
}

const rank = { CUSTOM: 0, DENY: 1, ALLOW: 2, AUDIT: 3 } as const;

/** Which of two policies of one action is weighed first. */
export function comparePlace(a: Policy, b: Policy): number {
  return compareText(a.namespace, b.namespace) || compareText(a.name, b.name);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function tableOf({ action, shadow }: Policy): Table | 'custom' {
  switch (action) {
    case 'AUDIT':
      return 'audit';
    case 'CUSTOM':
      return 'custom';
    case 'DENY':
      return shadow === true ? 'shadowDeny' : 'deny';
    case 'ALLOW':
      return shadow === true ? 'shadowAllow' : 'allow';
    default:
      return unreachable(action);
  }
}

/** The difference to a base; undefined when it is too large to be worth it. */
function changed(
  policies: readonly Policy[],
  base: RuleTables,
): Pick<CompiledPolicies, 'base' | 'recent' | 'gone'> | undefined {
  const recent = policies.filter((policy) => !base.policies.has(policy));
  const kept = policies.length - recent.length;
  const removed = base.policies.size - kept;
  if (recent.length + removed > MAX_RECENT || recent.length + removed > kept) return undefined;
  return {
    base,
    recent: recent.length === 0 ? undefined : compileTables(recent),
    gone: removed === 0 ? {} : goneFrom(base, new Set(policies)),
  };
}

function goneFrom(base: RuleTables, present: ReadonlySet<Policy>): Gone {
  const gone: Partial<Record<Table, ReadonlySet<number>>> = {};
  for (const table of tables) {
    const orders = ordersGone(base[table], present);
    if (orders.size > 0) gone[table] = orders;
  }
  const custom = [...base.custom].map(([provider, rules]) => [provider, ordersGone(rules, present)] as const);
  return Object.freeze({ ...gone, custom: new Map(custom.filter(([, orders]) => orders.size > 0)) });
}

function ordersGone(rules: CompiledRules, present: ReadonlySet<Policy>): ReadonlySet<number> {
  const orders = new Set<number>();
  for (const [order, owner] of rules.owners.entries()) if (!present.has(owner)) orders.add(order);
  return orders;
}

function compileTables(policies: readonly Policy[]): RuleTables {
  const parts = new Map<Table | 'custom', Policy[]>();
  for (const policy of policies.toSorted(comparePlace)) {
    const table = tableOf(policy);
    const part = parts.get(table);
    if (part === undefined) parts.set(table, [policy]);
    else part.push(policy);
  }
  const of = (table: Table) => compileTable(parts.get(table) ?? []);
  return Object.freeze({
    policies: new Set(policies),
    deny: of('deny'),
    allow: of('allow'),
    audit: of('audit'),
    shadowDeny: of('shadowDeny'),
    shadowAllow: of('shadowAllow'),
    custom: compileCustom(parts.get('custom') ?? []),
  });
}

function compileCustom(policies: readonly Policy[]): ReadonlyMap<string, CompiledRules> {
  const providers = new Set(policies.map((policy) => policy.provider ?? NO_PROVIDER));
  return new Map(
    [...providers].map((provider) => [
      provider,
      compileTable(policies.filter((policy) => (policy.provider ?? NO_PROVIDER) === provider)),
    ]),
  );
}

/** No authorizer has this name, so a CUSTOM that names none denies. */
const NO_PROVIDER = '';

function compileTable(policies: readonly Policy[]): CompiledRules {
  const decisions: Decision[] = [];
  const owners: Policy[] = [];
  const entries = policies.flatMap((policy) =>
    policy.rules.flatMap((rule, index) => {
      const decision = decisionOf(policy, ruleId(policy, index));
      owners.push(policy);
      const order = decisions.push(decision) - 1;
      return compileRule(rule, { order, decision, action: policy.action, validity: policy.validity });
    }),
  );
  return Object.freeze({ index: buildIndex(entries), decisions: Object.freeze(decisions), owners });
}

function decisionOf({ action }: Policy, rule: string): Decision {
  return Object.freeze(
    action === 'DENY'
      ? { decision: 'deny', reason: 'deny-rule', rule }
      : { decision: 'allow', reason: 'allow-rule', rule },
  );
}
