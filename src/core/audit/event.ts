import type { DecisionReason } from '../policy/model.ts';

/**
 * What a sidecar records. A call is one `decision`, written before the call is forwarded or refused, and one `completion`
 * when it is over. `call` joins the two.
 *
 * Every string that came from a caller (method, host, path, trace) is attacker-controlled and capped when recorded.
 */
export type AuditEvent = DecisionEvent | CompletionEvent | HeartbeatEvent | GapEvent;

export interface DecisionEvent {
  readonly kind: 'decision';
  /** UUIDv7, drawn by the sidecar. */
  readonly call: string;
  /** Milliseconds since the epoch, by the sidecar's clock. */
  readonly time: number;
  /** SPIFFE ID of the caller, verified by mTLS. */
  readonly source: string;
  /** SPIFFE ID of the called workload: the sidecar's own. */
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
}

/** Written when idle, so that silence is evidence. */
export interface HeartbeatEvent {
  readonly kind: 'heartbeat';
  readonly time: number;
}

/** The sidecar's own, signed admission that records are missing. */
export interface GapEvent {
  readonly kind: 'gap';
  readonly time: number;
  readonly reason: 'spool-lost' | 'spool-corrupt';
  /** Epoch and first sequence of what is missing; 0 when unknown. */
  readonly epoch: number;
  readonly fromSeq: number;
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
  readonly traceId: string;
  readonly tokenSubject: string;
  readonly certificateSerial: string;
  /** Instance id of the sidecar that recorded it. */
  readonly sidecar: string;
  readonly epoch: number;
  readonly sequence: number;
  /** Where its batch stands in the ledger: durable, with its leaf number in the order of arrival. */
  readonly proof: { readonly state: 'pending' | 'sealed'; readonly leaf: number | null };
}
