import { decideEgress } from '../../../core/policy/decide.ts';
import type { Decision, Request } from '../../../core/policy/model.ts';
import { DEFAULT_DENY } from '../../../core/policy/model.ts';
import { normalizePath } from '../../../core/policy/path.ts';
import type { Service, ServiceEndpoint } from '../../../core/policy/snapshot.ts';
import type { Cut } from '../live/live-call.ts';
import type { PolicyState } from '../policy-state.ts';
import { headersOf } from './http-request.ts';

/** A call that the application beside us wants to make. All of it but the service is the application's word. */
export interface OutgoingCall {
  readonly service: Service;
  /** Those that may be tried, in this order; at least one. */
  readonly endpoints: readonly ServiceEndpoint[];
  readonly protocol: 'http' | 'grpc' | 'tcp';
  /** Empty on TCP, as are the three after it. */
  readonly method: string;
  readonly host: string;
  readonly target: string;
  /** Name and value alternating. */
  readonly fields: readonly string[];
  /** '' for none. */
  readonly traceId: string;
}

/** One that carries bytes. */
export function tcpCallOf(to: Pick<OutgoingCall, 'service' | 'endpoints'>): OutgoingCall {
  const { service, endpoints } = to;
  return { service, endpoints, protocol: 'tcp', method: '', host: '', target: '', fields: [], traceId: '' };
}

export type ReadOutgoing =
  | { readonly ok: true; readonly path: string; readonly target: string }
  | { readonly ok: false; readonly why: string };

/** What it asks for, once it can only mean one thing. */
export function readOutgoing(call: OutgoingCall): ReadOutgoing {
  return call.protocol === 'tcp' ? { ok: true, path: '', target: '' } : normalizePath(call.target);
}

/** What egress policies say of a call, and where it may go then. */
export interface OutgoingDecision {
  readonly decision: Decision;
  /** Of the application there; 0 where it is not known, which no rule with ports matches. */
  readonly port: number;
  /** Those with that port. */
  readonly endpoints: readonly ServiceEndpoint[];
}

/**
 * Decides for each port of the application that the endpoints have, in their order: the first that may be called is taken, and
 * with it those endpoints that have the same. Where none may, what is said of the first.
 */
export function decideOutgoing(call: OutgoingCall, state: PolicyState, now: number): OutgoingDecision {
  const ports = new Set(call.endpoints.map(portOf));
  let refusal: OutgoingDecision | undefined;
  for (const port of ports) {
    const endpoints = call.endpoints.filter((endpoint) => portOf(endpoint) === port);
    const decision = decideFor(call, port, state, now);
    if (decision.decision === 'allow') return { decision, port, endpoints };
    refusal ??= { decision, port, endpoints };
  }
  return refusal ?? { decision: decideFor(call, 0, state, now), port: 0, endpoints: [] };
}

/** Why a call that is open would not be let out now; undefined when it would. */
export function refusalOutgoing(
  call: OutgoingCall,
  state: PolicyState | undefined,
  now: number,
): Omit<Cut, 'revision'> | undefined {
  if (state?.egress === undefined) return undefined;
  const read = readOutgoing(call);
  // It was let out as it is when nothing decided on it.
  if (!read.ok) return { reason: 'malformed-request', rule: DEFAULT_DENY };
  const { decision } = decideOutgoing({ ...call, target: read.target }, state, now);
  return decision.decision === 'allow' ? undefined : decision;
}

function portOf({ applicationPort }: ServiceEndpoint): number {
  return applicationPort ?? 0;
}

function decideFor(call: OutgoingCall, port: number, state: PolicyState, now: number): Decision {
  const { egress } = state;
  if (egress === undefined) throw new Error('there are no egress policies to decide by');
  const request: Request = { source: call.service.spiffeId, port, time: now };
  if (call.protocol === 'tcp') return decideEgress(egress, request);
  const path = call.target.split(/[?#]/, 1)[0] ?? '';
  const headers = headersOf(call.fields, egress.uses.headers);
  return decideEgress(egress, { ...request, http: { method: call.method, path, host: call.host, headers } });
}
