import { createHash } from 'node:crypto';
import type { Selectable } from 'kysely';
import type { AuditRecord, CompletionEvent, DecisionEvent } from '../../core/audit/event.ts';
import { MAX_BATCH_EVENTS } from '../../core/audit/ship.ts';
import type { AuditCompletionsTable, AuditRecordsTable } from '../store/audit-tables.ts';

/** Where an event stands: in its sidecar's sequence, and in the ledger. */
export interface EventPlace {
  readonly sidecar: string;
  readonly epoch: number;
  readonly seq: number;
  readonly leaf: number;
  /** Position in its batch. */
  readonly index: number;
}

/** UTF-16 units of a long text that are indexed: at most 600 bytes. */
export const INDEXED_UNITS = 200;

/** `bytes` are those of the event; `time` is what it is listed under. */
export function toRecordRow(event: DecisionEvent, bytes: Buffer, at: EventPlace, time: number): AuditRecordsTable {
  const path = storable(event.path);
  return {
    sidecar: at.sidecar,
    epoch: at.epoch,
    seq: at.seq,
    place: at.leaf * MAX_BATCH_EVENTS + at.index,
    leaf: at.leaf,
    call: event.call,
    event_hash: createHash('sha256').update(bytes).digest('hex'),
    time,
    source: event.source,
    destination: event.destination,
    protocol: event.protocol,
    method: storable(event.method),
    host: storable(event.host),
    path,
    path_start: indexedStart(path),
    port: event.port,
    decision: event.decision,
    reason: event.reason,
    rule: event.rule,
    policy_revision: event.policyRevision,
    trace_id: event.traceId,
    token_subject: storable(event.tokenSubject),
    certificate_serial: event.certificateSerial,
    direction: event.direction ?? null,
    shadow_decision: event.shadowDecision ?? null,
    shadow_rule: event.shadowRule ?? null,
    audit_rule: event.auditRule ?? null,
    transport: event.transport ?? null,
    end_user: event.endUser === undefined ? null : storable(event.endUser),
  };
}

export function toCompletionRow(event: CompletionEvent, sidecar: string): AuditCompletionsTable {
  return {
    sidecar,
    call: event.call,
    time: event.time,
    status: event.status,
    duration_ms: event.durationMs,
    bytes_in: event.bytesIn,
    bytes_out: event.bytesOut,
    cut_reason: event.cutReason ?? null,
    cut_rule: event.cutRule ?? null,
    cut_revision: event.cutRevision ?? null,
  };
}

/** A decision with what is known of its completion. */
export type JoinedRow = Selectable<AuditRecordsTable> & {
  readonly status: number | null;
  readonly duration_ms: number | null;
  readonly cut_reason?: string | null;
  readonly cut_rule?: string | null;
  readonly cut_revision?: number | null;
};

/** The state of a proof: sealed when the published checkpoint covers the batch. */
export function proofOf(leaf: number, sealedBelow: number): AuditRecord['proof'] {
  return Object.freeze({ state: leaf < sealedBelow ? 'sealed' : 'pending', leaf });
}

/** @param sealedBelow batches that the published checkpoint covers */
export function toAuditRecord(row: JoinedRow, sealedBelow: number): AuditRecord {
  return Object.freeze({
    id: `${row.sidecar}.${row.epoch}.${row.seq}`,
    time: new Date(row.time).toISOString(),
    source: row.source,
    destination: row.destination,
    operation: Object.freeze({
      protocol: row.protocol as AuditRecord['operation']['protocol'],
      method: row.method,
      host: row.host,
      path: row.path,
      port: row.port,
    }),
    decision: row.decision as AuditRecord['decision'],
    reason: row.reason as AuditRecord['reason'],
    rule: row.rule,
    policyRevision: row.policy_revision,
    status: row.status,
    durationMs: row.duration_ms,
    ...cutOf(row),
    traceId: row.trace_id,
    tokenSubject: row.token_subject,
    certificateSerial: row.certificate_serial,
    ...(row.direction === 'outbound' && { direction: 'outbound' as const }),
    ...marksOf(row),
    sidecar: row.sidecar,
    epoch: row.epoch,
    sequence: row.seq,
    proof: proofOf(row.leaf, sealedBelow),
  });
}

type Marks = Pick<AuditRecord, 'shadow' | 'auditRule' | 'transport' | 'endUser'>;

function marksOf(row: Selectable<AuditRecordsTable>): Marks {
  const decision = row.shadow_decision as AuditRecord['decision'] | null;
  return {
    ...(decision != null && { shadow: Object.freeze({ decision, rule: row.shadow_rule ?? '' }) }),
    ...(row.audit_rule != null && { auditRule: row.audit_rule }),
    ...(row.transport === 'plaintext' && { transport: 'plaintext' as const }),
    ...(row.end_user != null && { endUser: row.end_user }),
  };
}

function cutOf(row: JoinedRow): Pick<AuditRecord, 'cut'> {
  if (row.cut_reason == null) return {};
  const reason = row.cut_reason as AuditRecord['reason'];
  return { cut: Object.freeze({ reason, rule: row.cut_rule ?? '', revision: Number(row.cut_revision ?? 0) }) };
}

/** The sidecar, epoch and sequence in a record's id; `undefined` for what is none. The sidecar's id may contain dots. */
export function parseRecordId(id: string): { sidecar: string; epoch: number; seq: number } | undefined {
  const match = /^([!-~]{1,128})\.([1-9]\d{0,15})\.([1-9]\d{0,15})$/.exec(id);
  const [, sidecar, epoch, seq] = match ?? [];
  if (sidecar === undefined || !Number.isSafeInteger(Number(epoch)) || !Number.isSafeInteger(Number(seq)))
    return undefined;
  return { sidecar, epoch: Number(epoch), seq: Number(seq) };
}

/** Text as every database takes it: PostgreSQL knows no NUL, and half a surrogate pair is no UTF-8. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\ufffd').toWellFormed();
}

export function indexedStart(text: string): string {
  return text.slice(0, INDEXED_UNITS).toWellFormed();
}
