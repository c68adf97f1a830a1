import type { CompletionEvent, DecisionEvent } from '../../../core/audit/event.ts';
import type { SinkItem } from './item.ts';
import type { OcsfContext, OcsfEvent } from './ocsf-event.ts';
import { baseOf, endpointOf, withUnmapped } from './ocsf-event.ts';

const methods: ReadonlyMap<string, number> = new Map([
  ['CONNECT', 1],
  ['DELETE', 2],
  ['GET', 3],
  ['HEAD', 4],
  ['OPTIONS', 5],
  ['POST', 6],
  ['PUT', 7],
  ['TRACE', 8],
  ['PATCH', 9],
]);
const OTHER = 99;
const OPEN = 1;
const CLOSE = 2;
const RESET = 3;
const REFUSE = 5;

/** Nobody in particular: what was refused was who it claimed to be. */
const ofIdentity = new Set(['no-identity', 'token-refused', 'plaintext-refused']);

/** A decision: HTTP Activity, or Network Activity on TCP. Its end comes as an event of its own, with the same `http_request.uid`. */
export function callToOcsf(item: SinkItem, event: DecisionEvent, context: OcsfContext): OcsfEvent {
  const isTcp = event.protocol === 'tcp';
  const denied = event.decision === 'deny';
  const base = baseOf(item, context, {
    class: isTcp ? 'network' : 'http',
    activity: isTcp ? (denied ? REFUSE : OPEN) : activityOf(event),
    time: event.time,
    severity: denied ? 3 : 1,
    profiles: ['security_control', ...(event.traceId === '' ? [] : ['trace'])],
    correlation: event.traceId,
  });
  return withUnmapped(
    {
      ...base,
      status_id: denied ? 2 : 1,
      // What the sidecar answers to what it refuses. What the workload answers to the rest comes with its end.
      ...(denied && !isTcp && { status_code: '403' }),
      status_detail: event.reason,
      action_id: denied ? 2 : 1,
      action: event.decision === 'deny' ? 'Denied' : 'Allowed',
      disposition_id: denied ? (ofIdentity.has(event.reason) ? 26 : 2) : 1,
      is_alert: denied,
      ...policyOf(event),
      src_endpoint: endpointOf(event.source, event.direction === 'outbound' ? { instance_uid: item.sidecar } : {}),
      dst_endpoint: endpointOf(event.destination, {
        ...(event.port > 0 && { port: event.port }),
        ...(event.direction !== 'outbound' && { instance_uid: item.sidecar }),
      }),
      actor: actorOf(event),
      connection_info: { direction_id: event.direction === 'outbound' ? 2 : 1, protocol_name: 'tcp', uid: event.call },
      ...(event.certificateSerial !== '' && { tls: tlsOf(event) }),
      ...(!isTcp && { http_request: requestOf(event) }),
      app_protocol_name: event.protocol,
      ...(event.traceId !== '' && { trace: { uid: event.traceId } }),
    },
    {
      policy_revision: event.policyRevision,
      ...(event.shadowDecision !== undefined && {
        // action_id 3 Observed, disposition_id 17 Logged: of a policy that is not enforced.
        shadow: { action_id: 3, disposition_id: 17, decision: event.shadowDecision, rule: event.shadowRule },
      }),
      ...(event.auditRule !== undefined && { audit_rule: event.auditRule }),
      ...(event.transport !== undefined && { transport: event.transport }),
    },
  );
}

/** How a call ended. What a sidecar answered is HTTP Activity; a connection that ended without an answer Network Activity. */
export function completionToOcsf(item: SinkItem, event: CompletionEvent, context: OcsfContext): OcsfEvent {
  const isHttp = event.status > 0;
  const wasCut = event.cutReason !== undefined;
  const base = baseOf(item, context, {
    class: isHttp ? 'http' : 'network',
    activity: isHttp ? OTHER : wasCut ? RESET : CLOSE,
    time: event.time,
    severity: wasCut ? 3 : 1,
    profiles: ['security_control'],
  });
  return withUnmapped(
    {
      ...base,
      ...(isHttp && { activity_name: 'Completed', status_code: String(event.status) }),
      status_id: wasCut || event.status >= 400 ? 2 : 1,
      ...(wasCut && { status_detail: event.cutReason, action_id: 2, disposition_id: 2, is_alert: true }),
      ...(wasCut && policyOf({ rule: event.cutRule ?? '', decision: 'deny' })),
      // Of the sidecar that recorded it: of the called workload, or of the caller for a call that goes out.
      dst_endpoint: endpointOf(item.recordedBy, { instance_uid: item.sidecar }),
      connection_info: { direction_id: 0, protocol_name: 'tcp', uid: event.call },
      ...(isHttp && { http_request: { uid: event.call }, http_response: { code: event.status } }),
      traffic: { bytes_in: event.bytesIn, bytes_out: event.bytesOut },
      duration: event.durationMs,
      start_time: Math.max(event.time - event.durationMs, 0),
      end_time: event.time,
    },
    wasCut && event.cutRevision !== undefined ? { policy_revision: event.cutRevision } : {},
  );
}

function activityOf({ protocol, method }: DecisionEvent): number {
  return protocol === 'grpc' ? 6 : (methods.get(method) ?? OTHER);
}

/** `<namespace>/<policy>@<revision>#<rule index>`; what no rule has decided has only a name. */
function policyOf({ rule, decision }: Pick<DecisionEvent, 'rule' | 'decision'>): OcsfEvent {
  const [, uid, name, version, index] = /^((?:[^/@#]+\/)?([^/@#]+))@(\d+)#(\d+)$/.exec(rule) ?? [];
  const policy =
    uid === undefined
      ? { uid: rule || 'none', name: rule || 'none', is_applied: true }
      : { uid, name, version, is_applied: true };
  const deciding = uid === undefined ? { uid: rule || 'none' } : { uid: `${uid}/${index}`, version };
  return {
    policy,
    authorizations: [{ decision, policy: deciding }],
    firewall_rule: { uid: rule || 'none', name: name ?? (rule || 'none'), ...(version !== undefined && { version }) },
  };
}

function actorOf({ source, tokenSubject, endUser }: DecisionEvent): OcsfEvent {
  const user = endUser ?? tokenSubject;
  return {
    // An actor must have something that names it.
    app_uid: source || 'anonymous',
    ...(user !== '' && { user: { uid: user, name: user } }),
  };
}

/** Sidecars speak TLS 1.3 with each other, and nothing else. Who signed is the authority of the caller's trust domain. */
function tlsOf({ source, certificateSerial }: DecisionEvent): OcsfEvent {
  const authority = /^spiffe:\/\/[^/]+/.exec(source)?.[0] ?? 'unknown';
  return {
    version: '1.3',
    certificate: { serial_number: certificateSerial, issuer: authority },
    ...(source !== '' && { sans: [{ type: 'URI', name: source }] }),
  };
}

function requestOf({ call, method, host, path }: DecisionEvent): OcsfEvent {
  return { uid: call, http_method: method, url: { hostname: host, path } };
}
