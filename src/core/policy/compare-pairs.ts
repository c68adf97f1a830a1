import { covers, selectsAll } from './cover.ts';
import type { PolicyFinding } from './findings.ts';
import type { Policy } from './model.ts';
import type { PlacedRule } from './place.ts';
import { finding } from './place.ts';

/** Pairs of rules that are compared; a minute of work would help nobody. */
const MAX_PAIRS = 4_000_000;

/** Each rule against the others. Those in shadow mode or bound to a time prove nothing about others. */
export function comparePairs(rules: readonly PlacedRule[], rootNamespace: string): PolicyFinding[] {
  const found: PolicyFinding[] = [];
  let pairs = 0;
  const wide = rules.filter(({ at: { policy } }) => !isOnTerms(policy));
  const denials = wide.filter(({ at: { policy } }) => policy.action === 'DENY');
  for (const placed of rules) {
    pairs += wide.length;
    if (pairs > MAX_PAIRS) {
      const message = `The rules from here on are not compared with the other ${wide.length}: there are too many. Analyze fewer at a time.`;
      return [...found, finding('too-many-rules', placed.at, placed.index, message)];
    }
    const { at, index } = placed;
    const by = wide.find((other) => isShadowedBy(placed, other, rootNamespace));
    if (by !== undefined) {
      const message = `${nameOf(by)} matches whatever this rule does, with the same action. Remove this rule, or narrow the other.`;
      found.push(finding('shadowed-rule', at, index, message));
    }
    const vain = inVain[at.policy.action];
    const deny = vain === undefined ? undefined : denials.find((other) => isWithin(placed, other, rootNamespace));
    if (deny !== undefined) {
      const message = `${nameOf(deny)} denies whatever this rule ${vain}, and a DENY always wins. Narrow the DENY, or remove this rule.`;
      found.push(finding('allow-behind-deny', at, index, message));
    }
  }
  return found;
}

/** What comes to nothing when a DENY matches the same calls: what each action does, in words. */
const inVain: Readonly<Partial<Record<Policy['action'], string>>> = { ALLOW: 'allows', CUSTOM: 'asks about' };

function isShadowedBy(one: PlacedRule, other: PlacedRule, rootNamespace: string): boolean {
  if (one === other || one.at.policy.action !== other.at.policy.action) return false;
  // Each authorizer is asked for itself.
  if (one.at.policy.provider !== other.at.policy.provider) return false;
  if (!isWithin(one, other, rootNamespace)) return false;
  // Of two that match the same, the later one is too much.
  return !isWithin(other, one, rootNamespace) || comesBefore(other, one) || isOnTerms(one.at.policy);
}

function isWithin(one: PlacedRule, other: PlacedRule, rootNamespace: string): boolean {
  return selectsAll(other.at.policy, one.at.policy, rootNamespace) && covers(other.shape, one.shape);
}

function isOnTerms(policy: Policy): boolean {
  return policy.shadow === true || policy.validity !== undefined;
}

function comesBefore(a: PlacedRule, b: PlacedRule): boolean {
  const [left, right] = [a, b].map(({ at: { policy } }) => `${policy.namespace}/${policy.name}`);
  return left === right ? a.index < b.index : (left ?? '') < (right ?? '');
}

function nameOf({ at: { policy }, index }: PlacedRule): string {
  return `Rule ${index} of ${policy.namespace}/${policy.name}`;
}
