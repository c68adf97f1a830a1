/**
 * The policy model: what is left of a policy document once it has been parsed and checked. Frozen values only.
 *
 * The language is Istio's AuthorizationPolicy with default deny. The parser refuses whatever is not in it, by name, with
 * line and column.
 */

/**
 * AUDIT marks the calls that it matches on the record and decides nothing. CUSTOM has an external authorizer asked about
 * them, who can deny and not allow.
 */
export type Action = 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';

export interface Policy {
  readonly namespace: string;
  readonly name: string;
  /** Store revision at which this policy was last written; 0 for one that has not been stored. */
  readonly revision: number;
  /** Workloads it applies to: those of its namespace (or of every namespace, in the root namespace) that carry all labels. */
  readonly selector: Readonly<Record<string, string>>;
  /** Which workloads, instead of by labels. Absent for none. */
  readonly targets?: readonly Target[];
  /** `egress`: about the calls that the selected workloads make; whatever its rules ask of the source is asked of whom they call. Absent: those that reach them. */
  readonly direction?: 'egress';
  readonly action: Action;
  /** CUSTOM only: the name of the external authorizer that is asked. */
  readonly provider?: string;
  /** Matches when any rule does. None: an ALLOW that allows nothing. */
  readonly rules: readonly Rule[];
  /** True: what it would decide is said beside the decision and changes nothing. Never on an AUDIT. */
  readonly shadow?: boolean;
  /** When it holds; always without it. Outside of it the policy is as good as not there. */
  readonly validity?: Validity;
  /** Why it exists, in the author's words. Stays in the control plane. */
  readonly reason?: string;
}

/** What a `targetRef` names. A gateway or class stands for the workloads that carry its label. */
export interface Target {
  readonly kind: 'Service' | 'Gateway' | 'GatewayClass' | 'ServiceEntry';
  readonly name: string;
}

/** Milliseconds since the epoch; at least one of the two. */
export interface Validity {
  /** From this moment on. */
  readonly notBefore?: number;
  /** Until just before this moment. */
  readonly notAfter?: number;
}

/** Matches when any `from` does (or there is none), any `to` does (or there is none), and all of `when` do. */
export interface Rule {
  readonly from: readonly Source[];
  readonly to: readonly Operation[];
  /** Absent for none. */
  readonly when?: readonly Condition[];
}

/**
 * One attribute of a call: any of `values` matches (or there are none) and none of `notValues` does. At least one of the two
 * has a value. An attribute that the call does not have matches no value, and so satisfies every `notValues` (reference: rule
 * 6). On TCP, a condition on something that only HTTP has never holds.
 */
export interface Condition {
  /** As in `when`, for example `request.headers[x-tenant]`; the whole list is in `attributes.ts`. */
  readonly key: string;
  /** As people write them, wildcards included. */
  readonly values: readonly string[];
  readonly notValues: readonly string[];
}

/** Fields are ANDed, values inside a field are ORed, an empty field does not constrain. */
export interface Source {
  /** Compared with the peer's SPIFFE ID without `spiffe://`, for example `example.org/ns/shop/sa/web`. */
  readonly principals: readonly StringMatch[];
  /** Compared with the namespace in the peer's SPIFFE ID. */
  readonly namespaces: readonly StringMatch[];
  /** All the other fields, ANDed. Absent for none. */
  readonly where?: readonly Condition[];
}

export interface Operation {
  /** HTTP method, case-sensitive; `POST` for gRPC. */
  readonly methods: readonly StringMatch[];
  /** Path without query and fragment, normalised; `/package.Service/Method` for gRPC. */
  readonly paths: readonly StringMatch[];
  /** Port of the application at the destination. */
  readonly ports: readonly number[];
  /** All the other fields, ANDed. Absent for none. */
  readonly where?: readonly Condition[];
}

export type StringMatch =
  | { readonly kind: 'exact'; readonly value: string }
  | { readonly kind: 'prefix'; readonly value: string }
  | { readonly kind: 'suffix'; readonly value: string }
  /** A path with `{*}` or `{**}` segments; only in paths. */
  | { readonly kind: 'template'; readonly value: string }
  /** Any non-empty value. */
  | { readonly kind: 'present' };

/** A workload, as far as choosing its policies needs it. */
export interface Workload {
  readonly namespace: string;
  /** Its service account, which is the name of its service. Absent where it is not known: then no target names it. */
  readonly service?: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** One call to decide on. Every string in it is attacker-controlled but `source`, which mTLS has verified. */
export interface Request {
  /** The verified SPIFFE ID of the peer, with `spiffe://`; '' with `plaintext`. For egress policies, that of whom is called. */
  readonly source: string;
  /** The caller came without a certificate, where that is let in: it is nobody. */
  readonly plaintext?: true;
  /** Port of the application at the destination. */
  readonly port: number;
  /** Milliseconds since the epoch. Without it, of the policies with a validity only a DENY counts. */
  readonly time?: number;
  /** The connection that the call came on; what is unknown is absent. */
  readonly connection?: Connection;
  /** Absent on TCP: then a rule that names what only HTTP has cannot match (and a DENY with it cannot widen). */
  readonly http?: HttpRequest;
}

export interface Connection {
  /** IP address of the peer of the packets. */
  readonly peerIp?: string;
  /** IP address of the client, as proxies that are trusted say. Absent: nobody but the peer is known. */
  readonly remoteIp?: string;
  /** IP address at which the call arrived. */
  readonly ownIp?: string;
  /** Server name that the caller asked for in its TLS handshake. */
  readonly sni?: string;
}

export interface HttpRequest {
  readonly method: string;
  /** Normalised, without query and fragment. */
  readonly path: string;
  /** Authority as sent, with its port where it has one. */
  readonly host?: string;
  /** By name in lower case, one text for each time that the field stands there. Only those that rules ask for need to be in it. */
  readonly headers?: ReadonlyMap<string, readonly string[]>;
  /** Of a token that verified. */
  readonly token?: Token;
}

export interface Token {
  /** Whose keys verified it. */
  readonly trustDomain: string;
  /** As they stand in the token. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Why a call was decided as it was. Closed list. */
export const decisionReasons = [
  /** An ALLOW rule matched and no DENY rule did. */
  'allow-rule',
  /** A DENY rule matched. */
  'deny-rule',
  /** Nothing matched. */
  'default-deny',
  /** The sidecar has not received a first policy. */
  'no-policy',
  /** The sidecar has no valid certificate of its own. */
  'no-identity',
  /** The caller presented a JWT-SVID that did not verify. */
  'token-refused',
  /** The request cannot be interpreted safely: path, host or headers are ambiguous or malformed. */
  'malformed-request',
  /** The caller or the called workload is in quarantine. */
  'quarantined',
  /** An external authorizer refused, could not be reached, or answered nothing that is understood. */
  'custom-rule',
  /** More calls than a rate limit lets in. */
  'rate-limited',
  /** The caller speaks plain text, which is not let in, or not any more. */
  'plaintext-refused',
  /** A call that goes out, and no egress policy is enforced for who makes it. */
  'egress-open',
] as const;
export type DecisionReason = (typeof decisionReasons)[number];

export interface Decision {
  readonly decision: 'allow' | 'deny';
  readonly reason: DecisionReason;
  /** `<namespace>/<policy>@<revision>#<rule index>`, `default-deny` or `egress-open`. */
  readonly rule: string;
  /** What it would have been if policies in shadow mode were enforced, where that, or the rule, is another. */
  readonly shadow?: ShadowDecision;
  /** The first rule of an AUDIT policy that matches. Absent for none. */
  readonly audited?: string;
  /** Who else must agree before an `allow` is one: one for each provider, with the first rule that names it. Absent for nobody. */
  readonly custom?: readonly CustomCheck[];
}

export interface CustomCheck {
  readonly provider: string;
  readonly rule: string;
}

export interface ShadowDecision {
  readonly decision: 'allow' | 'deny';
  readonly rule: string;
}

export const DEFAULT_DENY = 'default-deny';
export const EGRESS_OPEN = 'egress-open';

export function ruleId(policy: Pick<Policy, 'namespace' | 'name' | 'revision'>, ruleIndex: number): string {
  return `${policy.namespace}/${policy.name}@${policy.revision}#${ruleIndex}`;
}
