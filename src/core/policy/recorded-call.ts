import type { DecisionReason, Request } from './model.ts';

/**
 * A call as the audit index holds it: what policies are replayed over. It holds neither headers, nor claims of tokens, nor
 * addresses, nor the server name of the handshake; what a rule says about those is not known for any recorded call.
 */
export interface RecordedCall {
  /** SPIFFE ID of the caller; '' for one that came in plain text. */
  readonly source: string;
  /** SPIFFE ID of the called workload. */
  readonly destination: string;
  readonly protocol: 'http' | 'grpc' | 'tcp';
  /** Empty on TCP, as host and path are. */
  readonly method: string;
  readonly host: string;
  /** Normalised, without query. */
  readonly path: string;
  /** The text was too long, and its end was not recorded. Absent for false. */
  readonly cut?: { readonly host: boolean; readonly path: boolean };
  readonly port: number;
  /** Subject of a token that verified; empty for none. */
  readonly tokenSubject: string;
  readonly decision: 'allow' | 'deny';
  readonly reason: DecisionReason;
  /** Rule that decided. */
  readonly rule: string;
  /** Of the policies that the sidecar had. */
  readonly policyRevision: number;
}

/** Calls that are the same to policies, as far as they were recorded. */
export interface RecordedCalls extends RecordedCall {
  /** How many. */
  readonly calls: number;
  /** Id of one of them. */
  readonly example: string;
  /** When the last of them was, in milliseconds since the epoch. */
  readonly last: number;
}

/** What is not known of one call beside what is known of none. */
export interface Blind {
  /** It came with a token, whose claims were not recorded. */
  readonly token: boolean;
  /** Only how it begins was recorded. */
  readonly host: boolean;
  readonly path: boolean;
}

/**
 * @param o.tokensWithoutSubject Tokens of others than workloads are accepted: one of them may have no subject, so that a call
 *   without one may still have had a token. Default false.
 */
export function blindOf(call: RecordedCall, o: { readonly tokensWithoutSubject?: boolean } = {}): Blind {
  return {
    token: call.protocol !== 'tcp' && (call.tokenSubject !== '' || o.tokensWithoutSubject === true),
    host: call.cut?.host === true,
    path: call.cut?.path === true,
  };
}

/** The call as it would be decided on if it came at `at` (milliseconds since the epoch). What is not known is absent. */
export function requestOf(call: RecordedCall, at: number): Request {
  const { source, port, protocol, method, path, host } = call;
  return {
    source,
    port,
    time: at,
    ...(source === '' && { plaintext: true as const }),
    ...(protocol !== 'tcp' && { http: { method, path, host } }),
  };
}

/** Whether policy decided the call: only then can another policy change what became of it. */
export function wasDecidedByPolicy({ reason }: RecordedCall): boolean {
  return reason === 'allow-rule' || reason === 'deny-rule' || reason === 'default-deny' || reason === 'custom-rule';
}
