import type { Decision, Operation, Policy, Request, Source, StringMatch } from '../../../src/core/policy/model.ts';

/**
 * The oracle: the semantics of reference rules 2 to 13, 22, 24 and 25 with default deny, written so that it can be checked
 * by reading. It shares no code with what it judges, looks at every rule, and takes no care to be fast.
 */
export function naiveDecide(policies: readonly Policy[], request: Request): Decision {
  // No anonymous callers.
  if (!/^spiffe:\/\/[^/]+\//.test(request.source))
    return { decision: 'deny', reason: 'default-deny', rule: 'default-deny' };
  const sorted = [...policies].sort((a, b) =>
    a.namespace < b.namespace ? -1 : a.namespace > b.namespace ? 1 : a.name < b.name ? -1 : a.name > b.name ? 1 : 0,
  );
  for (const action of ['DENY', 'ALLOW'] as const) {
    for (const policy of sorted.filter((p) => p.action === action)) {
      for (const [index, rule] of policy.rules.entries()) {
        const from = rule.from.length === 0 || rule.from.some((source) => sourceMatches(source, request));
        const to = rule.to.length === 0 || rule.to.some((operation) => operationMatches(operation, request));
        if (!from || !to) continue;
        const id = `${policy.namespace}/${policy.name}@${policy.revision}#${index}`;
        if (action === 'DENY') return { decision: 'deny', reason: 'deny-rule', rule: id };
        return { decision: 'allow', reason: 'allow-rule', rule: id };
      }
    }
  }
  return { decision: 'deny', reason: 'default-deny', rule: 'default-deny' };
}

function sourceMatches(source: Source, request: Request): boolean {
  const principal = request.source.replace('spiffe://', '');
  const namespace = /^[^/]+\/ns\/([^/]+)\/sa\/[^/]+$/.exec(principal)?.[1] ?? '';
  return fieldMatches(source.principals, principal) && fieldMatches(source.namespaces, namespace);
}

function operationMatches(operation: Operation, request: Request): boolean {
  const { http, port } = request;
  if (operation.ports.length > 0 && !operation.ports.includes(port)) return false;
  if (http === undefined) return operation.methods.length === 0 && operation.paths.length === 0;
  return fieldMatches(operation.methods, http.method) && fieldMatches(operation.paths, http.path);
}

function fieldMatches(values: readonly StringMatch[], actual: string): boolean {
  return values.length === 0 || values.some((value) => valueMatches(value, actual));
}

function valueMatches(match: StringMatch, actual: string): boolean {
  if (match.kind === 'present') return actual.length > 0;
  if (match.kind === 'exact') return actual === match.value;
  if (match.kind === 'prefix') return actual.slice(0, match.value.length) === match.value;
  return actual.slice(Math.max(0, actual.length - match.value.length)) === match.value;
}
