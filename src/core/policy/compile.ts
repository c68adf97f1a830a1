import { compileRule } from './compiled-rule.ts';
import type { Action, Decision, Policy, Workload } from './model.ts';
import { ruleId } from './model.ts';
import type { IndexNode } from './rule-index.ts';
import { buildIndex } from './rule-index.ts';

/** The policies of one workload, made ready for `decide`. Immutable. */
export interface CompiledPolicies {
  /** Revision of the snapshot that they came with. */
  readonly revision: number;
  readonly deny: CompiledRules;
  readonly allow: CompiledRules;
  /** Whether any rule asks for the caller's namespace. */
  readonly usesNamespaces: boolean;
}

interface CompiledRules {
  readonly index: IndexNode | undefined;
  /** By rule order: what a match of that rule decides. */
  readonly decisions: readonly Decision[];
}

/**
 * Compiles policies that all apply to one workload; whether they do is `selects`, and is not asked again here.
 *
 * Of several rules that match, a DENY decides before an ALLOW, then the order of (namespace, name, rule index), whatever
 * the order of `policies`. Takes time and memory in proportion to the number of values in the rules.
 *
 * @param policies Parsed or received and checked: patterns are not empty.
 */
export function compile(policies: readonly Policy[], revision: number): CompiledPolicies {
  const ordered = inDecidingOrder(policies);
  return Object.freeze({
    revision,
    deny: compileAction(ordered, 'DENY'),
    allow: compileAction(ordered, 'ALLOW'),
    usesNamespaces: policies.some((p) => p.rules.some((r) => r.from.some((s) => s.namespaces.length > 0))),
  });
}

/**
 * Whether a policy applies to a workload: it lies in the workload's namespace or in the root namespace, and the workload
 * carries every label of its selector (reference: rule 28).
 */
export function selects(
  policy: Pick<Policy, 'namespace' | 'selector'>,
  workload: Workload,
  rootNamespace: string,
): boolean {
  if (policy.namespace !== workload.namespace && policy.namespace !== rootNamespace) return false;
  return Object.entries(policy.selector).every(([key, value]) => workload.labels[key] === value);
}

/** DENY first, then by namespace and name, compared by code unit: the same on every machine. */
export function inDecidingOrder(policies: readonly Policy[]): readonly Policy[] {
  const rank = (policy: Policy) => (policy.action === 'DENY' ? 0 : 1);
  return policies.toSorted(
    (a, b) => rank(a) - rank(b) || compareText(a.namespace, b.namespace) || compareText(a.name, b.name),
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function compileAction(policies: readonly Policy[], action: Action): CompiledRules {
  const decisions: Decision[] = [];
  const entries = policies
    .filter((policy) => policy.action === action)
    .flatMap((policy) =>
      policy.rules.flatMap((rule, index) => {
        const decision = decisionOf(action, ruleId(policy, index));
        return compileRule(rule, decisions.push(decision) - 1, decision);
      }),
    );
  return Object.freeze({ index: buildIndex(entries), decisions: Object.freeze(decisions) });
}

function decisionOf(action: Action, rule: string): Decision {
  return Object.freeze(
    action === 'DENY'
      ? { decision: 'deny', reason: 'deny-rule', rule }
      : { decision: 'allow', reason: 'allow-rule', rule },
  );
}
