import type { Attribute } from './attributes.ts';
import { remoteIpOf, textsOf } from './attributes.ts';
import { compile, inDecidingOrder } from './compile.ts';
import { isWithin } from './compiled-rule.ts';
import { compileCondition, holds } from './conditions.ts';
import { decide, decideEgress } from './decide.ts';
import { formatMatch, matches } from './match.ts';
import type {
  Action,
  Condition,
  Decision,
  Operation,
  Policy,
  Request,
  Rule,
  Source,
  StringMatch,
  Validity,
} from './model.ts';
import { ruleId } from './model.ts';
import { namespaceOf, principalOf } from './principal.ts';

/** One rule that was weighed. */
export interface ConsideredRule {
  readonly rule: string;
  readonly action: Action;
  /** True: its policy is in shadow mode, and only what would be changes with it. */
  readonly shadow: boolean;
  readonly matched: boolean;
  /** In words, what kept it from matching; empty when it matched. */
  readonly failed: readonly string[];
}

export interface Explanation extends Decision {
  /**
   * Every rule: those of CUSTOM, who may have somebody asked, then in the order in which they are weighed. The first DENY or
   * ALLOW that matched and is not in shadow mode decided.
   */
  readonly considered: readonly ConsideredRule[];
}

/** Values of a field that a message lists before it only counts. */
const LISTED_VALUES = 5;

/**
 * Decides as `decide` does on the compiled form of the same policies (with `egress`, as `decideEgress` does), and says why, rule by rule. Looks at every rule, so
 * it is for people and tools, not for the path of a call. The words are for reading; nothing should parse them.
 *
 * The request's strings are attacker-controlled and appear in the words in JSON quotes.
 */
export function explain(
  policies: readonly Policy[],
  request: Request,
  o: { readonly egress?: boolean } = {},
): Explanation {
  const compiled = compile(policies, 0);
  const decision = o.egress === true ? decideEgress(compiled, request) : decide(compiled, request);
  const considered = inDecidingOrder(policies).flatMap((policy) =>
    policy.rules.map((rule, index) => weigh(policy, rule, index, request)),
  );
  return Object.freeze({ ...decision, considered: Object.freeze(considered) });
}

function weigh(policy: Policy, rule: Rule, index: number, request: Request): ConsideredRule {
  const failed = (request.plaintext === true ? request.source !== '' : principalOf(request.source) === '')
    ? [`${partyIn(policy)} ${quote(request.source)} has no SPIFFE ID of a workload that was verified`]
    : [
        ...whyNot(policy, request),
        ...whyNone('from', rule.from, (source) => whySource(source, policy, request)),
        ...whyNone('to', rule.to, (operation) => whyOperation(operation, policy, request)),
        ...(rule.when ?? []).flatMap((condition) => whyCondition(condition, policy, request)),
      ];
  return Object.freeze({
    rule: ruleId(policy, index),
    action: policy.action,
    shadow: policy.shadow === true,
    matched: failed.length === 0,
    failed: Object.freeze(failed),
  });
}

/** Whom the rules of a policy know by its identity. */
function partyIn(policy: Policy): string {
  return policy.direction === 'egress' ? 'the called workload' : 'the caller';
}

function whyNot({ validity, action }: Policy, { time }: Request): readonly string[] {
  if (validity === undefined || (time === undefined ? action !== 'ALLOW' : isWithin(validity, time))) return [];
  if (time === undefined) return ['the policy holds only for a time, and the time of the call is unknown'];
  return [`the policy holds ${when(validity)}, and the call is at ${new Date(time).toISOString()}`];
}

function when({ notBefore, notAfter }: Validity): string {
  const words = [
    ...(notBefore === undefined ? [] : [`from ${new Date(notBefore).toISOString()}`]),
    ...(notAfter === undefined ? [] : [`until ${new Date(notAfter).toISOString()}`]),
  ];
  return words.join(' ');
}

/** Empty when there are no alternatives or one of them has nothing against the request; else what each has against it. */
function whyNone<T>(name: string, alternatives: readonly T[], why: (alternative: T) => readonly string[]): string[] {
  const reasons = alternatives.map(why);
  if (reasons.length === 0 || reasons.some((r) => r.length === 0)) return [];
  if (reasons.length === 1) return [...(reasons[0] ?? [])];
  return reasons.map((r, index) => `${name}[${index}]: ${r.join(' and ')}`);
}

function whySource(source: Source, policy: Policy, request: Request): readonly string[] {
  const principal = principalOf(request.source);
  if (principal === '' && source.principals.length + source.namespaces.length > 0) {
    return [`${partyIn(policy)} has no identity, and the rule asks for one`];
  }
  const namespace = namespaceOf(principal);
  return [
    ...whyField('principal', source.principals, principal),
    ...(source.namespaces.length > 0 && namespace === ''
      ? [`principal ${quote(principal)} is in no namespace`]
      : whyField('namespace', source.namespaces, namespace)),
    ...(source.where ?? []).flatMap((condition) => whyCondition(condition, policy, request)),
  ];
}

function whyOperation(operation: Operation, policy: Policy, request: Request): readonly string[] {
  const { http } = request;
  const where = (operation.where ?? []).flatMap((condition) => whyCondition(condition, policy, request));
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
      ...where,
    ];
  }
  const named = [
    ...(operation.methods.length > 0 ? ['methods'] : []),
    ...(operation.paths.length > 0 ? ['paths'] : []),
  ];
  if (named.length > 0) failed.push(`the rule names ${named.join(' and ')}, and a TCP connection has none`);
  return [...failed, ...where];
}

function whyCondition(condition: Condition, policy: Policy, request: Request): readonly string[] {
  const compiled = compileCondition(condition, policy.action);
  if (holds(compiled, request)) return [];
  const { attribute } = compiled;
  const plain = attribute.key.replace(/^operation\./, '');
  const name = policy.direction === 'egress' ? plain.replace(/^source\./, 'called ') : plain;
  if (attribute.httpOnly && request.http === undefined) {
    return [`the rule asks for ${name}, and a TCP connection has none`];
  }
  if (textsOf(attribute, request) === undefined) return [`the call has no ${name}`];
  return [
    ...(condition.values.length === 0
      ? []
      : [`${name} ${shown(attribute, request)} must be one of ${list(condition.values)}`]),
    ...(condition.notValues.length === 0
      ? []
      : [`${name} ${shown(attribute, request)} must be none of ${list(condition.notValues)}`]),
  ];
}

/** What the call has, in words. Addresses are compared as bits, and pairs with a sign that nobody writes. */
function shown(attribute: Attribute, request: Request): string {
  switch (attribute.key) {
    case 'source.ip':
      return quote(request.connection?.peerIp ?? '');
    case 'remote.ip':
      return quote(remoteIpOf(request) ?? '');
    case 'destination.ip':
      return quote(request.connection?.ownIp ?? '');
    default: {
      const texts = textsOf(attribute, request) ?? [];
      return typeof texts === 'string'
        ? quote(texts.replace('\0', '/'))
        : `[${texts.slice(0, LISTED_VALUES).map(quote).join(', ')}]`;
    }
  }
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
