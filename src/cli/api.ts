import type { PolicyKind } from '../core/policy/kinds.ts';
import type { DecisionReason } from '../core/policy/model.ts';

/** The objects of the REST API, as far as the command line reads them. */

/** Of any kind that is written as a document. */
export interface PolicyObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly revision: number;
    readonly createdAt: string;
    readonly updatedAt: string;
    readonly updatedBy: string;
  };
  readonly spec: {
    readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
    readonly action?: string;
    readonly validity?: { readonly notBefore?: string; readonly notAfter?: string };
    readonly rules?: readonly unknown[];
    readonly jwtRules?: readonly { readonly issuer: string }[];
    readonly mtls?: { readonly mode?: string };
    readonly portLevelMtls?: Readonly<Record<string, { readonly mode?: string }>>;
    readonly total?: RateObject;
    readonly perSource?: RateObject;
    readonly overrides?: readonly unknown[];
  };
  /** As it was written. */
  readonly source: string;
}

export interface RateObject {
  readonly requests: number;
  readonly period?: string;
}

export interface EntryObject {
  readonly id: string;
  /** Or a template of SPIFFE IDs. */
  readonly spiffeId: string;
  readonly parentId: string | null;
  readonly selectors: readonly string[];
  readonly namespaces: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly x509TtlSeconds: number | null;
  readonly jwtTtlSeconds: number | null;
  readonly dnsNames: readonly string[];
  readonly federatesWith: readonly string[];
  readonly hint: string;
  readonly expiresAt: string | null;
  readonly jwtClaims: Readonly<Record<string, unknown>> | null;
  readonly revision: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface ProxyObject {
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly version: string;
  readonly connected: boolean;
  readonly state: 'synced' | 'pending' | 'rejected' | 'disconnected';
  readonly desiredRevision: number;
  /** The policy change of which it should have the candidate. */
  readonly desiredChange: number | null;
  readonly staleSince: string | null;
  readonly acknowledgedRevision: number | null;
  readonly lastSeen: string;
  readonly endpoints: readonly string[];
  /** Of its application. */
  readonly ports: readonly { readonly port: number; readonly protocol: 'http' | 'tcp' }[];
  readonly lastError: string | null;
  /** How far its record of calls is known. Absent from servers that do not say. */
  readonly record?: {
    readonly heardAt: string | null;
    readonly staleSince: string | null;
    readonly epoch: number | null;
    readonly gaps: number;
  } | null;
  readonly quarantined: boolean;
  readonly quarantineRevision: number | null;
  /** Where it lets callers without a certificate in. Absent from servers that do not say. */
  readonly plainTextPorts?: readonly number[] | undefined;
}

export interface QuarantineObject {
  readonly id: string;
  readonly spiffeId: string;
  readonly reason: string;
  readonly author: string;
  readonly createdAt: string;
  readonly revision: number;
  readonly released: { readonly reason: string; readonly author: string; readonly at: string } | null;
  readonly enforcement: {
    readonly connected: number;
    readonly obeying: number;
    readonly waiting: readonly string[];
    readonly away: number;
  };
  readonly warnings?: readonly { readonly code: string; readonly detail: string }[];
}

export interface NodeObject {
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly kind: 'agent' | 'workload';
  readonly method: string;
  readonly entryId: string | null;
  readonly selectors: readonly string[];
  readonly serial: string;
  readonly renewed: boolean;
  readonly canReattest: boolean;
  readonly banned: boolean;
  readonly attestedAt: string;
  readonly lastSeen: string;
  readonly expiresAt: string;
  readonly bundleSequence: number | null;
}

export interface FederationObject {
  readonly trustDomain: string;
  readonly bundleEndpoint: {
    readonly url: string;
    readonly profile: 'https_web' | 'https_spiffe';
    readonly spiffeId: string | null;
    readonly caCertificates: string | null;
  };
  readonly services: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly endpoints: readonly { readonly address: string; readonly protocol: string }[];
  }[];
  readonly bundle: {
    readonly sequence: string | null;
    readonly roots: readonly string[];
    readonly jwtKeys: readonly string[];
    readonly ignored: readonly string[];
    readonly fetchedAt: string | null;
    readonly checkedAt: string | null;
    readonly lastError: string | null;
  };
  readonly revision: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface AuthorityObject {
  readonly id: string;
  readonly kind: 'x509' | 'jwt' | 'wit';
  readonly state: 'prepared' | 'active' | 'old' | 'tainted' | 'revoked';
  readonly name: string;
  readonly upstream: boolean;
  readonly listener: boolean;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly createdAt: string;
  readonly since: string;
  readonly bundleSequence: number;
  readonly soon: boolean;
  readonly missing: readonly string[];
}

export interface JoinTokenObject {
  readonly id: string;
  /** null: for an agent. */
  readonly entryId: string | null;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly usedAt: string | null;
}

/** A token of an administrator, as lists show it. */
export interface TokenObject {
  readonly id: string;
  readonly name: string;
  readonly role: string;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly lastUsedAt: string | null;
}

export interface IssuedTokenObject {
  readonly id: string;
  readonly token: string;
  readonly entryId: string | null;
  readonly expiresAt: string;
}

export interface CheckAnswer {
  readonly decision: 'allow' | 'deny';
  readonly reason: DecisionReason;
  readonly rule: string;
  readonly source: { readonly policy: string; readonly line: number; readonly text: string } | null;
  readonly considered: readonly {
    readonly rule: string;
    readonly action: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
    readonly matched: boolean;
    readonly failed: readonly string[];
  }[];
  readonly request: {
    /** null for a caller in plain text. */
    readonly from: string | null;
    readonly to: string;
    readonly direction: 'Ingress' | 'Egress';
    readonly method: string | null;
    readonly path: string | null;
    readonly port: number | null;
  };
  readonly notes: readonly string[];
}

/** One change of a policy. */
export interface RevisionObject {
  readonly revision: number;
  readonly kind: PolicyKind;
  readonly namespace: string;
  readonly name: string;
  readonly operation: 'put' | 'delete';
  readonly author: string;
  readonly reason: string | null;
  readonly time: string;
  readonly restores: number | null;
  readonly previous: number | null;
}

export interface FullRevisionObject extends RevisionObject {
  readonly source: string | null;
  readonly diff: string;
}

export interface PageOf<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}

/** `shop/web` of `spiffe://example.org/ns/shop/sa/web`, for people; anything else stays as it is. */
export function shortName(spiffeId: string): string {
  const match = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(spiffeId);
  return match === null ? spiffeId : `${match[1]}/${match[2]}`;
}
