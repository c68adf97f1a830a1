import type { CompiledPolicies } from './compile.ts';
import type { Question } from './compiled-rule.ts';
import type { Decision, Request } from './model.ts';
import { DEFAULT_DENY } from './model.ts';
import { namespaceOf, principalOf } from './principal.ts';
import { findFirst, NOT_FOUND } from './rule-index.ts';

const defaultDeny: Decision = Object.freeze({ decision: 'deny', reason: 'default-deny', rule: DEFAULT_DENY });

/**
 * Decides one call: denied if a DENY rule matches, else allowed if an ALLOW rule does, else denied. Unlike in Istio, a
 * workload that no ALLOW policy selects is closed, not open.
 *
 * A request whose `source` is not the SPIFFE ID of a workload is denied whatever the rules say: there is no anonymous
 * caller. The order in which rules are weighed, and so which rule is named, is that of `compile`.
 */
export function decide(compiled: CompiledPolicies, request: Request): Decision {
  const principal = principalOf(request.source);
  if (principal === '') return defaultDeny;
  const question: Question = {
    principal,
    namespace: compiled.usesNamespaces ? namespaceOf(principal) : '',
    port: request.port,
    method: request.http?.method,
    path: request.http?.path,
  };
  for (const rules of [compiled.deny, compiled.allow]) {
    if (rules.index === undefined) continue;
    const found = rules.decisions[findFirst(rules.index, question, NOT_FOUND)];
    if (found !== undefined) return found;
  }
  return defaultDeny;
}
