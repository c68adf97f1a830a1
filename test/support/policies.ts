import type { PolicySet } from '../../src/control/policies/current.ts';

/** What names an AuthorizationPolicy. */
export function policyKey(namespace: string, name: string) {
  return { kind: 'AuthorizationPolicy' as const, namespace, name };
}

/** All objects as of a revision; of the kinds that are not given, none. */
export function policySet(some: Partial<PolicySet> = {}): PolicySet {
  return {
    revision: 0,
    policies: [],
    requestAuthentications: [],
    peerAuthentications: [],
    rateLimits: [],
    ...some,
  };
}
