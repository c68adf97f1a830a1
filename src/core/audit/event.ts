import type { DecisionReason } from '../policy/model.ts';
import type { AdminEvent } from './admin-event.ts';

/**
 * What is recorded. By sidecars: a call is one `decision`, written before the call is forwarded or refused, and one
 * `completion` when it is over. `call` joins the two. By the control plane: one `identity` per thing that was done with
 * identities, written before anybody gets it, and `admin` for what was done to it.
 *
 * Every string that came from a caller (method, host, path, trace) is attacker-controlled and capped when recorded.
 */
export type AuditEvent = DecisionEvent | CompletionEvent | HeartbeatEvent | GapEvent | IdentityEvent | AdminEvent;

export interface DecisionEvent {
  readonly kind: 'decision';
  /** UUIDv7, drawn by the sidecar. */
  readonly call: string;
  /** Milliseconds since the epoch, by the sidecar's clock. */
  readonly time: number;
  /** SPIFFE ID of the caller, verified by mTLS. */
  readonly source: string;
  /** SPIFFE ID of the called workload: the sidecar's own, unless the call goes out. */
  readonly destination: string;
  readonly protocol: 'http' | 'grpc' | 'tcp';
  /** Empty on TCP. */
  readonly method: string;
  /** Authority as the caller sent it; empty on TCP. */
  readonly host: string;
  /** Normalised path that was decided on, without query; empty on TCP. */
  readonly path: string;
  readonly port: number;
  readonly decision: 'allow' | 'deny';
  readonly reason: DecisionReason;
  readonly rule: string;
  readonly policyRevision: number;
  /** W3C trace id, 32 lower-hex digits; empty for none. */
  readonly traceId: string;
  /** `sub` of a JWT-SVID that the caller presented and that verified; empty for none. */
  readonly tokenSubject: string;
  /** Serial number of the caller's certificate, lower hex. */
  readonly certificateSerial: string;
  /** What the decision would have been with policies in shadow mode enforced, where that or the rule is another. */
  readonly shadowDecision?: 'allow' | 'deny';
  readonly shadowRule?: string;
  /** Rule of an AUDIT policy that matched. */
  readonly auditRule?: string;
  /**
   * A call that goes out, decided and recorded by the sidecar of the caller: there `source` is the sidecar's own, and
   * `destination` whom it wants to call, who records the call too once it arrives. Absent for one that comes in.
   */
  readonly direction?: 'outbound';
  /** Set for a call in plain text, whose `source` is nobody (''). Absent: mutual TLS. */
  readonly transport?: 'plaintext';
  /** `<issuer>/<subject>` of the token of an end user that the caller presented and that verified. Absent for none. */
  readonly endUser?: string;
}

export interface CompletionEvent {
  readonly kind: 'completion';
  readonly call: string;
  readonly time: number;
  /** HTTP status sent to the caller; 0 on TCP and when the caller went away first. */
  readonly status: number;
  readonly durationMs: number;
  /** Body bytes from and to the caller. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Set for a call that was let in and then cut off: why, by which rule, and by which revision of the policies or the quarantine. */
  readonly cutReason?: DecisionReason;
  readonly cutRule?: string;
  readonly cutRevision?: number;
}

/** Written when idle, so that silence is evidence. */
export interface HeartbeatEvent {
  readonly kind: 'heartbeat';
  readonly time: number;
}

export const gapReasons = ['spool-lost', 'spool-corrupt', 'power-lost', 'ledger-rolled-back', 'degraded'] as const;

/** The sidecar's own, signed admission that records are missing. */
export interface GapEvent {
  readonly kind: 'gap';
  readonly time: number;
  readonly reason: (typeof gapReasons)[number];
  /** Epoch and first sequence of what is missing; 0 when unknown, and for what never had a number. */
  readonly epoch: number;
  readonly fromSeq: number;
  /**
   * Only of `degraded`. The first such event says that calls are let in from now on that are only counted, and has none of
   * these; those that follow say how many there were of each kind. Calls between the first and the next one without counts of
   * which no count follows are unknown in number.
   */
  readonly calls?: number;
  /** Milliseconds since the epoch: since when they are counted. */
  readonly since?: number;
  readonly source?: string;
  readonly destination?: string;
  /** Protocol, method where it is a common one, and port: `http:GET:8080`, `tcp:5432`. */
  readonly operation?: string;
  readonly rule?: string;
  readonly policyRevision?: number;
}

/** What can be done with identities. Closed: a new action is a new row here, and readers that do not know it note the event as unreadable. */
export const identityActions = [
  /** A node or workload has proved what it is, or has failed to. */
  'attestation',
  'x509-svid',
  'jwt-svid',
  'wit-svid',
  /** An identity was renewed by its holder. */
  'renewal',
  'node.ban',
  'node.unban',
  'node.evict',
  'authority.prepare',
  'authority.activate',
  'authority.taint',
  'authority.revoke',
  'authority.retire',
  'federation.put',
  'federation.delete',
  'entry.create',
  'entry.update',
  'entry.delete',
  'quarantine.put',
  'quarantine.release',
] as const;
export type IdentityAction = (typeof identityActions)[number];

export const identityOutcomes = ['granted', 'refused'] as const;
export type IdentityOutcome = (typeof identityOutcomes)[number];

/**
 * Recorded by the control plane: who got which identity, who was refused, and what was done to keys, entries and nodes. No
 * field ever holds a token, a key or a certificate; texts longer than their limit are cut and end in '…'. What does not
 * apply is empty, or 0.
 *
 * A kind of its own with fields that are checked one by one, instead of a general 'admin' kind with a bag of details: canonical
 * bytes need every field to have one spelling, a limit and a meaning, and each question of a search needs a column. Below the
 * kinds everything is general: whatever else the control plane records (`admin-event.ts`: calls of its API, configuration) is
 * one more row in the table of `canonical.ts`, goes through the same `EventProducer`, and gets a table of the index.
 */
export interface IdentityEvent {
  readonly kind: 'identity';
  /** Milliseconds since the epoch, by the control plane's clock. */
  readonly time: number;
  readonly action: IdentityAction;
  readonly outcome: IdentityOutcome;
  /** SPIFFE ID that it is about: of who gets the identity, or would have. */
  readonly subject: string;
  /** SPIFFE ID of the caller or agent, `control-plane`, or the name of the admin. */
  readonly actor: string;
  /** Id of the entry. */
  readonly entry: string;
  /** Instance id in the certificate. */
  readonly instance: string;
  /** Serial number of the certificate (lower hex), `jti` of the token, or id of the authority. */
  readonly serial: string;
  /** Of attestation. */
  readonly method: string;
  readonly selectors: readonly string[];
  /** Of a JWT-SVID. */
  readonly audience: readonly string[];
  /** Of what was issued: milliseconds since the epoch. */
  readonly expiresAt: number;
  /** Of a refusal: `<code>: <message>`. */
  readonly reason: string;
  /** Network address of the caller. */
  readonly source: string;
}

/** Longest recorded value of a string that a caller chose, in UTF-16 units; longer ones are cut and end in '…'. */
export const MAX_RECORDED_TEXT = 2048;

/**
 * What the ledger shows for one call (design §5): the decision joined with its completion and its place in the log.
 * This is the object that REST serves.
 */
export interface AuditRecord {
  /** `<instance id>.<epoch>.<sequence>` of the decision event. */
  readonly id: string;
  /** RFC 3339, UTC, milliseconds: when it was decided, by the sidecar's clock. */
  readonly time: string;
  readonly source: string;
  readonly destination: string;
  readonly operation: {
    readonly protocol: 'http' | 'grpc' | 'tcp';
    readonly method: string;
    readonly host: string;
    readonly path: string;
    readonly port: number;
  };
  readonly decision: 'allow' | 'deny';
  readonly reason: DecisionReason;
  readonly rule: string;
  readonly policyRevision: number;
  /** null until the completion is recorded. */
  readonly status: number | null;
  readonly durationMs: number | null;
  /** Set for a call that was let in and then cut off: by which rule, of which revision of the policies or the quarantine. */
  readonly cut?: { readonly reason: DecisionReason; readonly rule: string; readonly revision: number };
  readonly traceId: string;
  readonly tokenSubject: string;
  readonly certificateSerial: string;
  /** Of a call that goes out, decided by the sidecar of its source; absent for one that comes in. */
  readonly direction?: 'outbound';
  /** What policies in shadow mode would have decided, where that or the rule is another. */
  readonly shadow?: { readonly decision: 'allow' | 'deny'; readonly rule: string };
  /** Rule of an AUDIT policy that matched. */
  readonly auditRule?: string;
  /** Set for a call in plain text, whose source is nobody. */
  readonly transport?: 'plaintext';
  /** `<issuer>/<subject>` of the token of an end user that verified. */
  readonly endUser?: string;
  /** Instance id of the sidecar that recorded it. */
  readonly sidecar: string;
  readonly epoch: number;
  readonly sequence: number;
  /**
   * Where its batch stands in the ledger: durable, with its leaf number in the order of arrival. `sealed` once a published
   * checkpoint of the log covers it: from then on it can be proved, and cannot be changed or left out unseen.
   */
  readonly proof: { readonly state: 'pending' | 'sealed'; readonly leaf: number | null };
}

/** What the ledger shows for one identity event. This is the object that REST serves. */
export interface IdentityRecord extends Omit<IdentityEvent, 'kind' | 'time' | 'expiresAt'> {
  /** `<instance id of the control plane>.<epoch>.<sequence>`. */
  readonly id: string;
  /** RFC 3339, UTC, milliseconds. */
  readonly time: string;
  /** RFC 3339; null where nothing was issued. */
  readonly expiresAt: string | null;
  /** Instance id of the control plane that recorded it: a new one per start. */
  readonly recorder: string;
  readonly epoch: number;
  readonly sequence: number;
  readonly proof: AuditRecord['proof'];
}
