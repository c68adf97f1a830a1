import { boundsOf, neverRule, unknownOf } from './bounds.ts';
import type { CompiledPolicies } from './compile.ts';
import { compile } from './compile.ts';
import { isWithin } from './compiled-rule.ts';
import { decide, decideEgress } from './decide.ts';
import type { Decision, Policy, Request } from './model.ts';
import { DEFAULT_DENY, ruleId } from './model.ts';
import type { Blind, RecordedCall } from './recorded-call.ts';

/** What policies say of a recorded call. */
export interface Verdict {
  /** 'unknown': it depends on what was not recorded. */
  readonly decision: 'allow' | 'deny' | 'unknown';
  /** That decides; of an unknown one, the rule that may. */
  readonly rule: string;
  /** External authorizers that are asked for certain, and that may be. Only of what is not denied. */
  readonly asks: readonly string[];
  readonly mayAsk: readonly string[];
  /** Of an unknown one: what it depends on, in the words of the language. */
  readonly because: readonly string[];
}

/** What the record of a call proves about policies that have not changed since. */
export interface Evidence {
  /** The rule that decided; it matched. */
  readonly rule: string;
  /** Of the policies by which it was decided. */
  readonly revision: number;
  /** No DENY matched. */
  readonly noDeny: boolean;
  /** No ALLOW matched. */
  readonly noAllow: boolean;
}

export const noEvidence: Evidence = Object.freeze({ rule: '', revision: 0, noDeny: false, noAllow: false });

/** @param since Revision from which on the workload has been selected by what selects it now. */
export function evidenceOf({ rule, reason, policyRevision }: RecordedCall, since: number): Evidence {
  const isComplete = policyRevision >= since;
  return {
    rule,
    revision: isComplete ? policyRevision : 0,
    noDeny: reason === 'allow-rule' || reason === 'default-deny' || reason === 'custom-rule',
    noAllow: reason === 'default-deny',
  };
}

/**
 * Decides recorded calls by the policies that apply to one workload in one direction, as `decide` would, and says where that
 * cannot be known. A rule that asks for what was not recorded is taken twice: as matching whatever it may, and as matching
 * only what it does for certain; where both decide the same, that is the verdict. What the record proves is used: the rule that
 * decided has matched, and of the policies that were there and have not changed, those that would have decided first have not.
 */
export class Replay {
  readonly #policies: readonly Policy[];
  readonly #decide: (compiled: CompiledPolicies, request: Request) => Decision;
  readonly #rules: ReadonlyMap<string, Policy>;
  /** Revisions of the policies of which something may be unknown, each once, ascending. */
  readonly #doubts: readonly number[];
  readonly #bounds = new Map<string, { readonly strict: CompiledPolicies; readonly lenient: CompiledPolicies }>();

  constructor(policies: readonly Policy[], direction: 'ingress' | 'egress' = 'ingress') {
    this.#policies = policies;
    this.#decide = direction === 'egress' ? decideEgress : decide;
    this.#rules = new Map(
      policies.flatMap((policy) => policy.rules.map((_, index) => [ruleId(policy, index), policy] as const)),
    );
    const doubtful = policies.filter((policy) => unknownOf(policy, everything).length > 0);
    this.#doubts = [...new Set(doubtful.map((policy) => policy.revision))].sort((a, b) => a - b);
  }

  /** @param used told the rules that match, or may. */
  verdict(request: Request, blind: Blind, evidence: Evidence, used: (rule: string) => void): Verdict {
    const proven = this.#proven(evidence.rule, request);
    const { strict, lenient } = this.#boundsFor(blind, evidence);
    const low = this.#decide(strict, request);
    const high = strict === lenient ? low : this.#decide(lenient, request);
    for (const decision of low === high ? [low] : [low, high]) tell(decision, used);
    if (proven !== undefined) used(evidence.rule);
    if (proven === 'DENY') return known('deny', evidence.rule);
    const isLet = low.decision === 'allow' || (proven === 'ALLOW' && low.reason === 'default-deny');
    const mayAsk = low.decision === 'allow' ? providersOf(low.custom) : this.#mayAsk(high, blind);
    if (isLet) {
      const rule = low.decision === 'allow' ? low.rule : evidence.rule;
      return { decision: 'allow', rule, asks: providersOf(high.custom), mayAsk, because: none };
    }
    if (high.decision === 'deny') return known('deny', low.rule);
    const because = this.#doubtsOf([low.rule, high.rule], blind);
    const rule = low.rule === DEFAULT_DENY ? high.rule : low.rule;
    return { decision: 'unknown', rule, asks: none, mayAsk, because };
  }

  /** The action of the rule that decided the recorded call, where it is here as it was then. */
  #proven(rule: string, { time }: Request): 'ALLOW' | 'DENY' | undefined {
    const policy = this.#rules.get(rule);
    if (policy === undefined || policy.shadow === true) return undefined;
    if (policy.validity !== undefined && (time === undefined || !isWithin(policy.validity, time))) return undefined;
    return policy.action === 'ALLOW' || policy.action === 'DENY' ? policy.action : undefined;
  }

  #boundsFor(blind: Blind, evidence: Evidence) {
    // Hardly ever: what else is then unknown is not worth sorting.
    if (blind.path || blind.host) return this.#compiled(JSON.stringify(blind), blind, noEvidence);
    if (this.#doubts.length === 0) return this.#compiled('', blind, noEvidence);
    // What makes a difference, and no more: the calls of a window have few of these together.
    const settled = this.#doubts.findLast((revision) => revision <= evidence.revision) ?? 0;
    const { noDeny, noAllow } = evidence;
    const key = `${Number(blind.token)}${Number(noDeny)}${Number(noAllow)} ${settled}`;
    return this.#compiled(key, blind, evidence);
  }

  #compiled(key: string, blind: Blind, evidence: Evidence) {
    let found = this.#bounds.get(key);
    if (found === undefined) {
      const policies = this.#policies.map((policy) => settle(policy, blind, evidence));
      found = compileBounds(policies, blind);
      this.#bounds.set(key, found);
    }
    return found;
  }

  /** Of a call that the strict bound denies, which names nobody to ask. */
  #mayAsk(high: Decision, blind: Blind): readonly string[] {
    const doubtful = this.#policies.filter((each) => each.action === 'CUSTOM' && unknownOf(each, blind).length > 0);
    return [...new Set([...providersOf(high.custom), ...doubtful.map(({ provider = '' }) => provider)])].sort();
  }

  #doubtsOf(rules: readonly string[], blind: Blind): readonly string[] {
    const policies = new Set(rules.flatMap((rule) => this.#rules.get(rule) ?? []));
    const keys = [...policies].flatMap((policy) => unknownOf(policy, blind));
    // A DENY that may match hides behind the rule that would allow.
    const all = keys.length > 0 ? keys : this.#policies.flatMap((policy) => unknownOf(policy, blind));
    return Object.freeze([...new Set(all)].sort());
  }
}

const none: readonly string[] = Object.freeze([]);
const everything: Blind = Object.freeze({ token: true, host: false, path: false });

/** A policy that was there and did not match can do so no more for an equal call. One with a validity may have been outside. */
function settle(policy: Policy, blind: Blind, evidence: Evidence): Policy {
  const isSettled = policy.action === 'DENY' ? evidence.noDeny : policy.action === 'ALLOW' && evidence.noAllow;
  const wasThere = policy.revision > 0 && policy.revision <= evidence.revision && policy.validity === undefined;
  if (!isSettled || !wasThere || policy.shadow === true || unknownOf(policy, blind).length === 0) return policy;
  return { ...policy, rules: policy.rules.map(() => neverRule) };
}

function compileBounds(policies: readonly Policy[], blind: Blind) {
  const bounds = policies.map((policy) => ({ policy, ...boundsOf(policy, blind) }));
  const opens = (policy: Policy) => policy.action === 'ALLOW';
  const strict = compile(
    bounds.map((each) => (opens(each.policy) ? each.narrowest : each.widest)),
    0,
  );
  if (bounds.every((each) => each.widest === each.narrowest)) return { strict, lenient: strict };
  const lenient = compile(
    bounds.map((each) => (opens(each.policy) ? each.widest : each.narrowest)),
    0,
  );
  return { strict, lenient };
}

function tell({ rule, shadow, audited, custom }: Decision, used: (rule: string) => void): void {
  used(rule);
  if (shadow !== undefined) used(shadow.rule);
  if (audited !== undefined) used(audited);
  for (const check of custom ?? []) used(check.rule);
}

function known(decision: 'allow' | 'deny', rule: string): Verdict {
  return { decision, rule, asks: none, mayAsk: none, because: none };
}

function providersOf(custom: Decision['custom']): readonly string[] {
  return custom === undefined ? none : custom.map(({ provider }) => provider);
}
