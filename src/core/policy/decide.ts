import type { CompiledPolicies, CompiledRules, Table } from './compile.ts';
import { comparePlace } from './compile.ts';
import type { Question } from './compiled-rule.ts';
import type { Decision, Request } from './model.ts';
import { DEFAULT_DENY } from './model.ts';
import { namespaceOf, principalOf } from './principal.ts';
import { findFirst, NOT_FOUND } from './rule-index.ts';

const defaultDeny: Decision = Object.freeze({ decision: 'deny', reason: 'default-deny', rule: DEFAULT_DENY });

/**
 * Decides one call: denied if a DENY rule matches, else allowed if an ALLOW rule does, else denied. Unlike in Istio, a
 * workload that no ALLOW policy selects is closed, not open. Policies in shadow mode and AUDIT policies decide nothing; what
 * they say stands beside the decision.
 *
 * A request whose `source` is not the SPIFFE ID of a workload is denied whatever the rules say: there is no anonymous
 * caller. The order in which rules are weighed, and so which rule is named, is that of `compile`.
 */
export function decide(compiled: CompiledPolicies, request: Request): Decision {
  const principal = principalOf(request.source);
  if (principal === '') return defaultDeny;
  const question: Question = {
    principal,
    namespace: compiled.uses.namespaces ? namespaceOf(principal) : '',
    port: request.port,
    method: request.http?.method,
    path: request.http?.path,
    request,
  };
  const decision = find(compiled, 'deny', question) ?? find(compiled, 'allow', question) ?? defaultDeny;
  return compiled.uses.marks ? marked(compiled, question, decision) : decision;
}

function marked(compiled: CompiledPolicies, question: Question, decision: Decision): Decision {
  const audited = find(compiled, 'audit', question)?.rule;
  const { decision: verdict, rule } = inShadow(compiled, question, decision);
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

/** What the first rule of a table that matches decides. */
function find(compiled: CompiledPolicies, table: Table, question: Question): Decision | undefined {
  const { base, recent, gone } = compiled;
  const first = orderIn(base[table], question, gone[table]);
  const found = base[table].decisions[first];
  if (recent === undefined) return found;
  const second = orderIn(recent[table], question, undefined);
  const newer = recent[table].decisions[second];
  const owner = base[table].owners[first];
  const newOwner = recent[table].owners[second];
  if (owner === undefined || newOwner === undefined) return found ?? newer;
  return comparePlace(owner, newOwner) < 0 ? found : newer;
}

function orderIn(rules: CompiledRules, question: Question, gone: ReadonlySet<number> | undefined): number {
  return rules.index === undefined ? NOT_FOUND : findFirst(rules.index, question, NOT_FOUND, gone);
}
