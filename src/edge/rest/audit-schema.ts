import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { AuditRecord } from '../../core/audit/event.ts';
import { decisionReasons } from '../../core/policy/model.ts';
import { closed, nullable, oneOf, time } from './schemas.ts';

/** One call on the record. Method, host, path and trace were chosen by callers: never treat them as markup. */
export const AuditEventSchema = Type.Object(
  {
    id: Type.String({ description: '`<sidecar>.<epoch>.<sequence>`' }),
    time,
    source: Type.String({ description: 'SPIFFE ID of the caller, verified by mTLS.' }),
    destination: Type.String({ description: 'SPIFFE ID of the called workload.' }),
    operation: Type.Object(
      {
        protocol: oneOf(['http', 'grpc', 'tcp']),
        method: Type.String(),
        host: Type.String(),
        path: Type.String({ description: 'Normalised, without query.' }),
        port: Type.Integer(),
      },
      closed,
    ),
    decision: oneOf(['allow', 'deny']),
    reason: oneOf(decisionReasons),
    rule: Type.String(),
    policyRevision: Type.Integer(),
    status: nullable(Type.Integer({ description: 'HTTP status; null until the call is over.' })),
    durationMs: nullable(Type.Number()),
    cut: Type.Optional(
      Type.Object(
        {
          reason: oneOf(decisionReasons),
          rule: Type.String(),
          revision: Type.Integer({ description: 'Of the policies, or of the quarantine.' }),
        },
        { ...closed, description: 'Only of a call that was let in and then cut off: by what.' },
      ),
    ),
    traceId: Type.String(),
    tokenSubject: Type.String(),
    certificateSerial: Type.String(),
    direction: Type.Optional(oneOf(['outbound'])),
    shadow: Type.Optional(
      Type.Object(
        { decision: oneOf(['allow', 'deny']), rule: Type.String() },
        {
          ...closed,
          description: 'What policies in `mode: Shadow` would have decided, where that or the rule is another.',
        },
      ),
    ),
    auditRule: Type.Optional(Type.String({ description: 'Rule of an AUDIT policy that matched.' })),
    transport: Type.Optional(oneOf(['plaintext'])),
    endUser: Type.Optional(
      Type.String({ description: "`<issuer>/<subject>` of an end user's token. Chosen by its issuer." }),
    ),
    sidecar: Type.String(),
    epoch: Type.Integer(),
    sequence: Type.Integer(),
    proof: Type.Object({ state: oneOf(['pending', 'sealed']), leaf: nullable(Type.Integer()) }, closed),
  },
  closed,
);

/** Spelt out, so that a field is added to the API on purpose. */
export function toAuditEvent(record: AuditRecord): Static<typeof AuditEventSchema> {
  const { operation, proof } = record;
  return {
    id: record.id,
    time: record.time,
    source: record.source,
    destination: record.destination,
    operation: {
      protocol: operation.protocol,
      method: operation.method,
      host: operation.host,
      path: operation.path,
      port: operation.port,
    },
    decision: record.decision,
    reason: record.reason,
    rule: record.rule,
    policyRevision: record.policyRevision,
    status: record.status,
    durationMs: record.durationMs,
    ...(record.cut !== undefined && { cut: { ...record.cut } }),
    traceId: record.traceId,
    tokenSubject: record.tokenSubject,
    certificateSerial: record.certificateSerial,
    ...(record.direction !== undefined && { direction: record.direction }),
    ...(record.shadow !== undefined && { shadow: { ...record.shadow } }),
    ...(record.auditRule !== undefined && { auditRule: record.auditRule }),
    ...(record.transport !== undefined && { transport: record.transport }),
    ...(record.endUser !== undefined && { endUser: record.endUser }),
    sidecar: record.sidecar,
    epoch: record.epoch,
    sequence: record.sequence,
    proof: { state: proof.state, leaf: proof.leaf },
  };
}
