import { unreachable } from '../../base/errors.ts';
import type { Attribute } from './attributes.ts';
import { attributeOf } from './attributes.ts';
import type { Condition, Operation, Policy, Rule, Source } from './model.ts';
import type { Blind } from './recorded-call.ts';

/**
 * What a policy says of a call of which not everything is known: two policies that can be decided by, of which one matches
 * whatever the policy may match, and the other only what it matches for certain. Where both decide the same, so does the
 * policy, whatever the unknown was. Both are the policy itself when it asks for nothing that is unknown.
 *
 * Conditions are taken one by one: of a rule that holds with a header and another that holds without it, neither is certain.
 */
export interface Bounds {
  readonly widest: Policy;
  readonly narrowest: Policy;
}

export function boundsOf(policy: Policy, blind: Blind): Bounds {
  if (unknownOf(policy, blind).length === 0) return { widest: policy, narrowest: policy };
  return {
    widest: { ...policy, rules: policy.rules.map((rule) => widen(rule, blind)) },
    narrowest: { ...policy, rules: policy.rules.map((rule) => narrow(rule, blind)) },
  };
}

/** What of the call a policy asks for and is not known, in the words of the language. Empty for a policy that is certain. */
export function unknownOf(policy: Policy, blind: Blind): readonly string[] {
  return [...new Set(policy.rules.flatMap((rule) => unknownOfRule(rule, blind)))];
}

export function unknownOfRule(rule: Rule, blind: Blind): readonly string[] {
  const conditions = [
    ...rule.from.flatMap((source) => source.where ?? []),
    ...rule.to.flatMap((operation) => operation.where ?? []),
    ...(rule.when ?? []),
  ];
  const keys = conditions.filter((each) => isUnknown(each, blind)).map(({ key }) => key.replace(/^operation\./, ''));
  return [...new Set(hasUnknownPath(rule, blind) ? [...keys, 'path'] : keys)];
}

/** A rule that no call matches. A rule keeps its number, so that what it decides keeps its name. */
export const neverRule: Rule = Object.freeze({
  from: Object.freeze([]),
  to: Object.freeze([Object.freeze({ methods: [], paths: [], ports: [-1] })]),
});

function widen(rule: Rule, blind: Blind): Rule {
  return {
    from: rule.from.map((source) => ({ ...source, ...whereOf(source.where, blind) })),
    to: rule.to.map((operation) => {
      const where = widenAll(operation.where, blind);
      if (!blind.path || operation.paths.length === 0) return { ...operation, where };
      return { ...operation, paths: [], where: [...where, isHttp] };
    }),
    when: widenAll(rule.when, blind),
  };
}

function whereOf(where: readonly Condition[] | undefined, blind: Blind): Pick<Source, 'where'> {
  return where === undefined ? {} : { where: widenAll(where, blind) };
}

/** What may hold is taken to hold: nothing is left of it but that only HTTP has it. */
function widenAll(conditions: readonly Condition[] = [], blind: Blind): readonly Condition[] {
  return conditions.flatMap((condition) => {
    if (!isUnknown(condition, blind)) return [condition];
    return attributeOf(condition.key)?.httpOnly === true ? [isHttp] : [];
  });
}

/** What may not hold is taken not to hold, and everything that needs it with it. */
function narrow(rule: Rule, blind: Blind): Rule {
  const from = rule.from.filter((source) => isCertain(source, blind));
  const to = rule.to.filter((operation) => isCertain(operation, blind) && !asksForPath(operation, blind));
  const isLost =
    (from.length === 0 && rule.from.length > 0) ||
    (to.length === 0 && rule.to.length > 0) ||
    (rule.when ?? []).some((condition) => isUnknown(condition, blind));
  return isLost ? neverRule : { ...rule, from, to };
}

function isCertain({ where }: Source | Operation, blind: Blind): boolean {
  return !(where ?? []).some((condition) => isUnknown(condition, blind));
}

function hasUnknownPath(rule: Rule, blind: Blind): boolean {
  return rule.to.some((operation) => asksForPath(operation, blind));
}

function asksForPath(operation: Operation, blind: Blind): boolean {
  return blind.path && operation.paths.length > 0;
}

/** Holds for every HTTP request and for nothing else. */
const isHttp: Condition = Object.freeze({ key: 'operation.method', values: [], notValues: ['\0'] });

function isUnknown({ key }: Condition, blind: Blind): boolean {
  const attribute = attributeOf(key);
  // What is not understood is refused when it is compiled.
  return attribute !== undefined && isUnrecorded(attribute, blind);
}

function isUnrecorded({ type, header }: Attribute, blind: Blind): boolean {
  switch (type) {
    case 'ip':
    case 'sni':
      return true;
    case 'header':
      if (header === ':method') return false;
      return header === ':authority' || header === 'host' ? blind.host : true;
    case 'claim':
    case 'requestPrincipal':
      return blind.token;
    case 'host':
      return blind.host;
    case 'path':
      return blind.path;
    case 'principal':
    case 'namespace':
    case 'serviceAccount':
    case 'trustDomain':
    case 'port':
    case 'method':
      return false;
    default:
      return unreachable(type);
  }
}
