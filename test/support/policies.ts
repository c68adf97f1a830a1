import type { PolicySet } from '../../src/control/policies/current.ts';
import type { PolicyKind } from '../../src/core/policy/kinds.ts';

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

/** Something to tell versions of an object apart by, in each kind. */
const specs: Readonly<Record<PolicyKind, (mark: string) => string>> = {
  AuthorizationPolicy: (mark) => `  action: ALLOW\n  rules:\n    - to: [{ operation: { paths: ["/${mark}"] } }]\n`,
  RequestAuthentication: (mark) =>
    `  jwtRules:\n    - issuer: https://issuer.example/${mark}\n      jwksUri: https://issuer.example/${mark}/keys\n`,
  PeerAuthentication: (mark) => `  selector: { matchLabels: { app: "${mark}" } }\n  mtls: { mode: STRICT }\n`,
  RateLimit: (mark) => `  selector: { matchLabels: { app: "${mark}" } }\n  total: { requests: 10, period: 1s }\n`,
};

/** The text of an object of any kind. */
export function documentOf(
  kind: PolicyKind,
  name: string,
  o: { readonly namespace?: string; readonly mark?: string; readonly labels?: string } = {},
): string {
  const labels = o.labels === undefined ? '' : `  labels: ${o.labels}\n`;
  return `apiVersion: writ.dev/v1
kind: ${kind}
metadata:
  name: ${name}
  namespace: ${o.namespace ?? 'shop'}
${labels}spec:
${specs[kind](o.mark ?? 'a')}`;
}
