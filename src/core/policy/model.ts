/**
 * The policy model: what is left of a policy document once it has been parsed and checked. Frozen values only.
 *
 * The language is Istio's AuthorizationPolicy with default deny. This is the subset that Writ enforces today; the parser
 * refuses whatever is not in it, by name, with line and column.
 */

export type Action = 'ALLOW' | 'DENY';

export interface Policy {
  readonly namespace: string;
  readonly name: string;
  /** Store revision at which this policy was last written; 0 for one that has not been stored. */
  readonly revision: number;
  /** Workloads it applies to: those of its namespace (or of every namespace, in the root namespace) that carry all labels. */
  readonly selector: Readonly<Record<string, string>>;
  readonly action: Action;
  /** Matches when any rule does. None: an ALLOW that allows nothing. */
  readonly rules: readonly Rule[];
}

/** Matches when any `from` does (or there is none) and any `to` does (or there is none). */
export interface Rule {
  readonly from: readonly Source[];
  readonly to: readonly Operation[];
}

/** Fields are ANDed, values inside a field are ORed, an empty field does not constrain. */
export interface Source {
  /** Compared with the peer's SPIFFE ID without `spiffe://`, for example `example.org/ns/shop/sa/web`. */
  readonly principals: readonly StringMatch[];
  /** Compared with the namespace in the peer's SPIFFE ID. */
  readonly namespaces: readonly StringMatch[];
}

export interface Operation {
  /** HTTP method, case-sensitive; `POST` for gRPC. */
  readonly methods: readonly StringMatch[];
  /** Path without query and fragment, normalised; `/package.Service/Method` for gRPC. */
  readonly paths: readonly StringMatch[];
  /** Port of the application at the destination. */
  readonly ports: readonly number[];
}

export type StringMatch =
  | { readonly kind: 'exact'; readonly value: string }
  | { readonly kind: 'prefix'; readonly value: string }
  | { readonly kind: 'suffix'; readonly value: string }
  /** Any non-empty value. */
  | { readonly kind: 'present' };

/** A workload, as far as choosing its policies needs it. */
export interface Workload {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** One call to decide on. Every string in it is attacker-controlled but `source`, which mTLS has verified. */
export interface Request {
  /** The verified SPIFFE ID of the peer, with `spiffe://`. */
  readonly source: string;
  /** Port of the application at the destination. */
  readonly port: number;
  /** Absent on TCP: then a rule that names methods or paths cannot match (and a DENY with them cannot widen). */
  readonly http?: {
    readonly method: string;
    /** Normalised, without query and fragment. */
    readonly path: string;
  };
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
] as const;
export type DecisionReason = (typeof decisionReasons)[number];

export interface Decision {
  readonly decision: 'allow' | 'deny';
  readonly reason: DecisionReason;
  /** `<namespace>/<policy>@<revision>#<rule index>`, or `default-deny`. */
  readonly rule: string;
}

export const DEFAULT_DENY = 'default-deny';

export function ruleId(policy: Pick<Policy, 'namespace' | 'name' | 'revision'>, ruleIndex: number): string {
  return `${policy.namespace}/${policy.name}@${policy.revision}#${ruleIndex}`;
}
