import type { AdminRecord } from '../core/audit/admin-event.ts';
import type { Style } from './style.ts';
import { safe } from './style.ts';
import type { Column } from './table.ts';

/** One administrative event on one line: time, who, what, on what, how it ended, why. */
export function adminLine(record: AdminRecord, style: Style): string {
  const time = style.dim(record.time.slice(11, 23));
  const outcome = shownOutcome(record, style);
  const times = record.count === 1 ? '' : `×${record.count}`;
  return [
    time,
    outcome,
    safe(actorOf(record)).padEnd(14),
    safe(operationOf(record)).padEnd(16),
    safe(record.object),
    times,
    style.dim(safe(record.reason)),
  ]
    .filter((part) => part !== '')
    .join('  ');
}

function shownOutcome({ outcome }: AdminRecord, style: Style): string {
  const text = outcome.toUpperCase().padEnd(7);
  if (outcome === 'done') return style.green(text);
  return outcome === 'begun' ? style.dim(text) : style.red(text);
}

function actorOf({ actor }: AdminRecord): string {
  return actor === '' ? 'nobody' : actor;
}

function operationOf({ action, operation }: AdminRecord): string {
  return operation === '' ? action : operation;
}

export const adminColumns: readonly Column<AdminRecord>[] = [
  { head: 'TIME', cell: (r) => r.time },
  { head: 'ACTOR', cell: (r) => actorOf(r) },
  { head: 'ROLE', cell: (r) => r.role },
  { head: 'OPERATION', cell: (r) => operationOf(r) },
  { head: 'OBJECT', cell: (r) => r.object },
  { head: 'OUTCOME', cell: (r) => (r.outcome === 'begun' && !r.settled ? 'begun, no end' : r.outcome) },
  { head: 'COUNT', cell: (r) => String(r.count) },
  { head: 'REASON', cell: (r) => r.reason },
  { head: 'QUERY', wide: true, cell: (r) => r.query },
  { head: 'STATUS', wide: true, cell: (r) => (r.status === 0 ? '' : String(r.status)) },
  { head: 'SOURCE', wide: true, cell: (r) => r.source },
  { head: 'CREDENTIAL', wide: true, cell: (r) => r.credential },
  { head: 'PERMISSION', wide: true, cell: (r) => r.permission },
  { head: 'REQUEST', wide: true, cell: (r) => r.request },
  { head: 'AFTER', wide: true, cell: (r) => r.after.slice(0, 16) },
  { head: 'ID', cell: (r) => r.id },
];

/** One event in full: everything that is not empty, and the change behind it. */
export function adminDetails(record: AdminRecord): string {
  const { detail, proof, recorder, epoch, sequence, settled, ...fields } = record;
  const shown = Object.entries({ ...fields, proof: `${proof.state}, batch ${proof.leaf}` }).filter(
    ([, value]) => value !== '' && value !== null && value !== 0,
  );
  const lines = shown.map(([name, value]) => `${name.padEnd(12)}${safe(String(value))}\n`).join('');
  const ended = settled ? '' : 'The record does not say how it ended.\n';
  const change = detail === '' ? '' : `\n${detail.split('\n').map(safe).join('\n').trimEnd()}\n`;
  return lines + ended + change;
}
