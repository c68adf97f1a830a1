import { attributeOf } from './attributes.ts';
import type { Condition, Policy } from './model.ts';

/** What of a call the rules of a policy look at: a sidecar brings nothing else. */
export interface Uses {
  readonly namespaces: boolean;
  /** Header fields, in lower case. */
  readonly headers: readonly string[];
  /** Claims of a token that verified. */
  readonly claims: boolean;
  /** In shadow mode, or an AUDIT: it marks calls and decides none. */
  readonly marks: boolean;
  /** Neither of the two: what it says holds. */
  readonly decides: boolean;
  readonly shadow: boolean;
}

/** Policies are frozen, and most of a set stay from one revision to the next. */
const known = new WeakMap<Policy, Uses>();

export function usesOf(policies: readonly Policy[]): Uses {
  const headers = new Set<string>();
  let namespaces = false;
  let claims = false;
  let marks = false;
  let decides = false;
  let shadow = false;
  for (const policy of policies) {
    const uses = usesOfOne(policy);
    namespaces ||= uses.namespaces;
    claims ||= uses.claims;
    marks ||= uses.marks;
    decides ||= uses.decides;
    shadow ||= uses.shadow;
    for (const header of uses.headers) headers.add(header);
  }
  return Object.freeze({ namespaces, claims, marks, decides, shadow, headers: Object.freeze([...headers]) });
}

function usesOfOne(policy: Policy): Uses {
  let uses = known.get(policy);
  if (uses === undefined) {
    uses = read(policy);
    known.set(policy, uses);
  }
  return uses;
}

function read(policy: Policy): Uses {
  const attributes = conditionsOf(policy).map((condition) => attributeOf(condition.key));
  return {
    namespaces: policy.rules.some((rule) => rule.from.some((source) => source.namespaces.length > 0)),
    headers: attributes.flatMap((attribute) => attribute?.header ?? []),
    claims: attributes.some((a) => a?.type === 'claim' || a?.type === 'requestPrincipal'),
    marks: policy.action === 'AUDIT' || policy.shadow === true,
    decides: policy.action !== 'AUDIT' && policy.shadow !== true,
    shadow: policy.shadow === true,
  };
}

/** Every condition of a policy, wherever it stands. */
export function conditionsOf(policy: Policy): readonly Condition[] {
  return policy.rules.flatMap((rule) => [
    ...rule.from.flatMap((source) => source.where ?? []),
    ...rule.to.flatMap((operation) => operation.where ?? []),
    ...(rule.when ?? []),
  ]);
}
