import type { AuditRecord } from '../core/audit/event.ts';
import { shortName } from './api.ts';
import type { Style } from './style.ts';
import { safe } from './style.ts';
import type { Column } from './table.ts';

/** One recorded call on one line: time, who → whom, what, verdict, rule. */
export function callLine(record: AuditRecord, style: Style): string {
  const time = style.dim(record.time.slice(11, 23));
  const who = `${safe(shortName(record.source))} → ${safe(shortName(record.destination))}`;
  const allowed = record.decision === 'allow';
  const verdict = allowed ? style.green('ALLOW') : style.red('DENY ');
  const status = record.status === null || record.status === 0 ? '   ' : String(record.status);
  return `${time}  ${who.padEnd(30)}  ${safe(operation(record)).padEnd(16)}  ${verdict}  ${status}  ${style.dim(safe(ruleOf(record)))}`;
}

/** `GET /orders`, or `TCP :5432`. */
export function operation(record: AuditRecord): string {
  const { protocol, method, path, port } = record.operation;
  return protocol === 'tcp' ? `TCP :${port}` : `${method} ${path}`;
}

/** The rule; for a refusal that no rule made, the reason; for a call that was cut off, by what. */
function ruleOf(record: AuditRecord): string {
  if (record.cut !== undefined) return `cut by ${record.cut.rule}`;
  return ['allow-rule', 'deny-rule', 'default-deny'].includes(record.reason) ? record.rule : record.reason;
}

export const callColumns: readonly Column<AuditRecord>[] = [
  { head: 'TIME', cell: (r) => r.time },
  { head: 'SOURCE', cell: (r) => shortName(r.source) },
  { head: 'DESTINATION', cell: (r) => shortName(r.destination) },
  { head: 'OPERATION', cell: operation },
  { head: 'DECISION', cell: (r) => r.decision },
  { head: 'STATUS', cell: (r) => (r.status === null || r.status === 0 ? '' : String(r.status)) },
  { head: 'RULE', cell: ruleOf },
  { head: 'REASON', wide: true, cell: (r) => r.reason },
  { head: 'PORT', wide: true, cell: (r) => String(r.operation.port) },
  { head: 'TRACE', wide: true, cell: (r) => r.traceId },
  { head: 'TOKEN-SUBJECT', wide: true, cell: (r) => r.tokenSubject },
  { head: 'END-USER', wide: true, cell: (r) => r.endUser ?? '' },
  { head: 'TRANSPORT', wide: true, cell: (r) => r.transport ?? '' },
  { head: 'SHADOW', wide: true, cell: (r) => (r.shadow === undefined ? '' : `${r.shadow.decision} ${r.shadow.rule}`) },
  { head: 'AUDIT-RULE', wide: true, cell: (r) => r.auditRule ?? '' },
  { head: 'ID', cell: (r) => r.id },
];
