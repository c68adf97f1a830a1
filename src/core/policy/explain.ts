import { inDecidingOrder } from './compile.ts';
import { formatMatch, matches } from './match.ts';
import type { Action, Decision, Operation, Policy, Request, Rule, Source, StringMatch } from './model.ts';
import { DEFAULT_DENY, ruleId } from './model.ts';
import { namespaceOf, principalOf } from './principal.ts';

/** One rule that was weighed. */
export interface ConsideredRule {
  readonly rule: string;
  readonly action: Action;
  readonly matched: boolean;
  /** In words, what kept it from matching; empty when it matched. */
  readonly failed: readonly string[];
}

export interface Explanation extends Decision {
  /** Every rule, in the order in which they are weighed: the first that matched decided. */
  readonly considered: readonly ConsideredRule[];
}

/** Values of a field that a message lists before it only counts. */
const LISTED_VALUES = 5;

/**
 * Decides as `decide` does on the compiled form of the same policies, and says why, rule by rule. Looks at every rule, so
 * it is for people and tools, not for the path of a call. The words are for reading; nothing should parse them.
 *
 * The request's strings are attacker-controlled and appear in the words in JSON quotes.
 */
export function explain(policies: readonly Policy[], request: Request): Explanation {
  const considered = inDecidingOrder(policies).flatMap((policy) =>
    policy.rules.map((rule, index) => weigh(policy, rule, index, request)),
  );
  return Object.freeze({ ...verdict(considered), considered: Object.freeze(considered) });
}

function weigh(policy: Policy, rule: Rule, index: number, request: Request): ConsideredRule {
  const failed =
    principalOf(request.source) === ''
      ? [`the caller ${quote(request.source)} has no SPIFFE ID of a workload`]
      : [
          ...whyNone('from', rule.from, (source) => whySource(source, request)),
          ...whyNone('to', rule.to, (operation) => whyOperation(operation, request)),
        ];
  return Object.freeze({
    rule: ruleId(policy, index),
    action: policy.action,
    matched: failed.length === 0,
    failed: Object.freeze(failed),
  });
}

function verdict(considered: readonly ConsideredRule[]): Decision {
  const deciding = considered.find((c) => c.matched);
  if (deciding === undefined) return { decision: 'deny', reason: 'default-deny', rule: DEFAULT_DENY };
  return deciding.action === 'DENY'
    ? { decision: 'deny', reason: 'deny-rule', rule: deciding.rule }
    : { decision: 'allow', reason: 'allow-rule', rule: deciding.rule };
}

/** Empty when there are no alternatives or one of them has nothing against the request; else what each has against it. */
function whyNone<T>(name: string, alternatives: readonly T[], why: (alternative: T) => readonly string[]): string[] {
  const reasons = alternatives.map(why);
  if (reasons.length === 0 || reasons.some((r) => r.length === 0)) return [];
  if (reasons.length === 1) return [...(reasons[0] ?? [])];
  return reasons.map((r, index) => `${name}[${index}]: ${r.join(' and ')}`);
}

function whySource(source: Source, request: Request): readonly string[] {
  const principal = principalOf(request.source);
  const namespace = namespaceOf(principal);
  return [
    ...whyField('principal', source.principals, principal),
    ...(source.namespaces.length > 0 && namespace === ''
      ? [`principal ${quote(principal)} is in no namespace`]
      : whyField('namespace', source.namespaces, namespace)),
  ];
}

function whyOperation(operation: Operation, request: Request): readonly string[] {
  const { http } = request;
  const failed = [
    ...(operation.ports.length === 0 || operation.ports.includes(request.port)
      ? []
      : [`port ${request.port} is none of ${list(operation.ports.map(String))}`]),
  ];
  if (http !== undefined) {
    return [
      ...failed,
      ...whyField('method', operation.methods, http.method),
      ...whyField('path', operation.paths, http.path),
    ];
  }
  const named = [
    ...(operation.methods.length > 0 ? ['methods'] : []),
    ...(operation.paths.length > 0 ? ['paths'] : []),
  ];
  if (named.length > 0) failed.push(`the rule names ${named.join(' and ')}, and a TCP connection has none`);
  return failed;
}

function whyField(name: string, values: readonly StringMatch[], actual: string): readonly string[] {
  if (values.length === 0 || values.some((match) => matches(match, actual))) return [];
  return [`${name} ${quote(actual)} is none of ${list(values.map(formatMatch))}`];
}

function list(values: readonly string[]): string {
  const more = values.length - LISTED_VALUES;
  return `[${values.slice(0, LISTED_VALUES).join(', ')}${more > 0 ? `, and ${more} more` : ''}]`;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
