import type { CompiledPolicies, CompiledRules, Table } from './compile.ts';
import { comparePlace } from './compile.ts';
import type { Question } from './compiled-rule.ts';
import type { CustomCheck, Decision, Request } from './model.ts';
import { DEFAULT_DENY, EGRESS_OPEN } from './model.ts';
import { namespaceOf, principalOf } from './principal.ts';
import { findFirst, NOT_FOUND } from './rule-index.ts';

const defaultDeny: Decision = Object.freeze({ decision: 'deny', reason: 'default-deny', rule: DEFAULT_DENY });

const egressOpen: Decision = Object.freeze({ decision: 'allow', reason: 'egress-open', rule: EGRESS_OPEN });

/**
 * Decides one call: denied if a DENY rule matches, else allowed if an ALLOW rule does, else denied. Unlike in Istio, a
 * workload that no ALLOW policy selects is closed, not open. Policies in shadow mode and AUDIT policies decide nothing; what
 * they say stands beside the decision. A call that is allowed and that a CUSTOM rule matches is only let in when everybody in
 * `custom` agrees: asking them is not done here.
 *
 * A request whose `source` is not the SPIFFE ID of a workload is denied whatever the rules say, unless it says `plaintext`: then
 * its caller is nobody, whom no rule that asks for a caller matches. The order in which rules are weighed, and so which rule is
 * named, is that of `compile`.
 */
export function decide(compiled: CompiledPolicies, request: Request): Decision {
  const question = questionOf(compiled, request);
  if (question === undefined) return defaultDeny;
  const decision = find(compiled, 'deny', question) ?? find(compiled, 'allow', question) ?? defaultDeny;
  return withMarks(compiled, question, decision, decision);
}

/**
 * Decides one call that a workload makes, by the egress policies that select it: `request.source` is the SPIFFE ID of whom it
 * calls, and `request.port` the port there. As `decide`, once any of them is enforced; as long as none is (there are none, or
 * they are in shadow mode or AUDIT), everything goes out.
 */
export function decideEgress(compiled: CompiledPolicies, request: Request): Decision {
  if (compiled.uses.decides) return decide(compiled, request);
  const question = questionOf(compiled, request);
  if (question === undefined) return defaultDeny;
  // Were the shadow policies enforced, it would no longer be open.
  return withMarks(compiled, question, egressOpen, compiled.uses.shadow ? defaultDeny : egressOpen);
}

/** Undefined for a caller who is neither a workload nor nobody. */
function questionOf(compiled: CompiledPolicies, request: Request): Question | undefined {
  const principal = principalOf(request.source);
  // One who has an identity and yet came in plain text has none that was verified.
  if (request.plaintext === true ? request.source !== '' : principal === '') return undefined;
  return {
    principal,
    namespace: compiled.uses.namespaces ? namespaceOf(principal) : '',
    port: request.port,
    method: request.http?.method,
    path: request.http?.path,
    request,
  };
}

/** @param before What enforced policies say, to policies in shadow mode. */
function withMarks(compiled: CompiledPolicies, question: Question, decision: Decision, before: Decision): Decision {
  const marked = compiled.uses.marks ? marksOf(compiled, question, decision, before) : decision;
  return compiled.providers.length > 0 && decision.decision === 'allow'
    ? withCustom(compiled, question, marked)
    : marked;
}

function marksOf(compiled: CompiledPolicies, question: Question, decision: Decision, before: Decision): Decision {
  const audited = find(compiled, 'audit', question)?.rule;
  const { decision: verdict, rule } = inShadow(compiled, question, before);
  return Object.freeze({
    ...decision,
    ...(rule !== decision.rule && { shadow: Object.freeze({ decision: verdict, rule }) }),
    ...(audited !== undefined && { audited }),
  });
}

/** As if shadow policies were enforced too: then theirs is the last word only where no enforced policy has spoken first. */
function inShadow(compiled: CompiledPolicies, question: Question, decision: Decision): Decision {
  if (decision.reason === 'deny-rule') return decision;
  const denied = find(compiled, 'shadowDeny', question);
  if (denied !== undefined || decision.reason === 'allow-rule') return denied ?? decision;
  return find(compiled, 'shadowAllow', question) ?? decision;
}

function withCustom(compiled: CompiledPolicies, question: Question, decision: Decision): Decision {
  const { base, recent, gone, providers } = compiled;
  const custom: CustomCheck[] = [];
  for (const provider of providers) {
    const dead = gone.custom?.get(provider);
    const found = first(base.custom.get(provider), recent?.custom.get(provider), question, dead);
    if (found !== undefined) custom.push(Object.freeze({ provider, rule: found.rule }));
  }
  return custom.length === 0 ? decision : Object.freeze({ ...decision, custom: Object.freeze(custom) });
}

/** What the first rule of a table that matches decides. */
function find(compiled: CompiledPolicies, table: Table, question: Question): Decision | undefined {
  return first(compiled.base[table], compiled.recent?.[table], question, compiled.gone[table]);
}

/** @param gone Orders of `base` that no longer count. */
function first(
  base: CompiledRules | undefined,
  recent: CompiledRules | undefined,
  question: Question,
  gone: ReadonlySet<number> | undefined,
): Decision | undefined {
  const order = base === undefined ? NOT_FOUND : orderIn(base, question, gone);
  const found = base?.decisions[order];
  if (recent === undefined) return found;
  const newOrder = orderIn(recent, question, undefined);
  const newer = recent.decisions[newOrder];
  const owner = base?.owners[order];
  const newOwner = recent.owners[newOrder];
  if (owner === undefined || newOwner === undefined) return found ?? newer;
  return comparePlace(owner, newOwner) < 0 ? found : newer;
}

function orderIn(rules: CompiledRules, question: Question, gone: ReadonlySet<number> | undefined): number {
  return rules.index === undefined ? NOT_FOUND : findFirst(rules.index, question, NOT_FOUND, gone);
}
