import { unreachable } from '../../../base/errors.ts';
import type { SinkItem } from './item.ts';
import { summaryOf } from './summary.ts';

/** Severity numbers of the data model of OpenTelemetry: INFO, WARN, ERROR. */
const severities = { info: 9, warning: 13, error: 17 } as const;

type Value = string | number | boolean | undefined;

/** An ExportLogsServiceRequest in the JSON encoding of OTLP: 64-bit numbers are texts, ids are lower hex. Records have no body. */
export function toOtlp(
  items: readonly SinkItem[],
  o: { readonly version: string; readonly trustDomain: string },
): string {
  return JSON.stringify({
    resourceLogs: [
      {
        resource: {
          attributes: attributes({
            'service.name': 'writ',
            'service.version': o.version,
            'mesh.trust_domain': o.trustDomain,
          }),
        },
        scopeLogs: [{ scope: { name: 'writ.audit', version: o.version }, logRecords: items.map(toLogRecord) }],
      },
    ],
  });
}

function toLogRecord(item: SinkItem) {
  const { event } = item;
  const { severity } = summaryOf(item);
  return {
    timeUnixNano: nanoseconds(event.time),
    observedTimeUnixNano: nanoseconds(item.receivedAt),
    severityNumber: severities[severity],
    severityText: severity.toUpperCase(),
    eventName: eventNameOf(item),
    attributes: attributes({
      'mesh.event.id': item.id,
      'mesh.event.hash': item.eventHash,
      'mesh.log.leaf': item.leaf,
      'mesh.log.batch_root': item.batchRoot,
      'mesh.recorded_by': item.recordedBy,
      'mesh.sidecar': item.sidecar,
      ...attributesOf(item),
    }),
    ...(event.kind === 'decision' && event.traceId !== '' && { traceId: event.traceId }),
  };
}

function eventNameOf(item: SinkItem): string {
  return item.event.kind === 'decision' ? 'mesh.authz.decision' : summaryOf(item).name;
}

function attributesOf({ event }: SinkItem): Readonly<Record<string, Value>> {
  switch (event.kind) {
    case 'decision': {
      const [service, method] = event.protocol === 'grpc' ? event.path.slice(1).split('/', 2) : [];
      return {
        'mesh.call.id': event.call,
        'mesh.source': event.source,
        'mesh.destination': event.destination,
        'mesh.decision': event.decision,
        'mesh.reason': event.reason,
        'mesh.rule': event.rule,
        'mesh.policy_revision': event.policyRevision,
        'mesh.direction': event.direction ?? 'inbound',
        'mesh.transport': event.transport ?? 'mtls',
        'mesh.shadow.decision': event.shadowDecision,
        'mesh.shadow.rule': event.shadowRule,
        'mesh.audit.rule': event.auditRule,
        'network.protocol.name': event.protocol === 'tcp' ? undefined : 'http',
        'network.transport': 'tcp',
        'server.port': event.port,
        'server.address': event.host || undefined,
        'enduser.id': event.endUser ?? (event.tokenSubject || undefined),
        'tls.client.certificate.serial': event.certificateSerial || undefined,
        ...(event.protocol !== 'tcp' && { 'http.request.method': event.method, 'url.path': event.path }),
        ...(event.protocol === 'grpc' && { 'rpc.system': 'grpc', 'rpc.service': service, 'rpc.method': method }),
      };
    }
    case 'completion':
      return {
        'mesh.call.id': event.call,
        'http.response.status_code': event.status > 0 ? event.status : undefined,
        'mesh.duration_ms': event.durationMs,
        'http.request.body.size': event.bytesIn,
        'http.response.body.size': event.bytesOut,
        'mesh.cut.reason': event.cutReason,
        'mesh.cut.rule': event.cutRule,
        'mesh.cut.revision': event.cutRevision,
      };
    case 'identity':
      return {
        'mesh.action': event.action,
        'mesh.outcome': event.outcome,
        'mesh.subject': event.subject,
        'mesh.actor': event.actor,
        'mesh.entry': event.entry || undefined,
        'mesh.instance': event.instance || undefined,
        'mesh.serial': event.serial || undefined,
        'mesh.method': event.method || undefined,
        'mesh.reason': event.reason || undefined,
        'client.address': event.source || undefined,
      };
    case 'admin':
      return {
        'mesh.action': event.action,
        'mesh.outcome': event.outcome,
        'mesh.actor': event.actor || undefined,
        'mesh.role': event.role || undefined,
        'mesh.operation': event.operation || undefined,
        'mesh.permission': event.permission || undefined,
        'mesh.object': event.object || undefined,
        'mesh.request': event.request || undefined,
        'mesh.count': event.count,
        'mesh.change.before': event.before || undefined,
        'mesh.change.after': event.after || undefined,
        'mesh.change.diff': event.detail || undefined,
        'mesh.reason': event.reason || undefined,
        'http.response.status_code': event.status > 0 ? event.status : undefined,
        'client.address': event.source || undefined,
      };
    case 'gap':
      return { 'mesh.reason': event.reason, 'mesh.gap.epoch': event.epoch, 'mesh.gap.from_sequence': event.fromSeq };
    case 'note':
      return { 'mesh.reason': event.note, 'mesh.detail': event.detail };
    default:
      return unreachable(event);
  }
}

function attributes(values: Readonly<Record<string, Value>>) {
  return Object.entries(values).flatMap(([key, value]) =>
    value === undefined ? [] : [{ key, value: anyValue(value) }],
  );
}

function anyValue(value: Exclude<Value, undefined>) {
  if (typeof value === 'number') return { intValue: String(value) };
  return typeof value === 'boolean' ? { boolValue: value } : { stringValue: value };
}

function nanoseconds(ms: number): string {
  return `${ms}000000`.replace(/^0+(?=\d)/, '');
}
