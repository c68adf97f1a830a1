import type { IdentityRecord } from '../core/audit/event.ts';
import { shortName } from './api.ts';
import type { Style } from './style.ts';
import { safe } from './style.ts';
import type { Column } from './table.ts';

/** One identity event on one line: time, what, about whom, by whom, outcome, why. */
export function identityLine(record: IdentityRecord, style: Style): string {
  const time = style.dim(record.time.slice(11, 23));
  const granted = record.outcome === 'granted';
  const outcome = granted ? style.green('GRANTED') : style.red('REFUSED');
  const about = subjectOf(record);
  const by = about === shortName(record.actor) ? '' : `by ${shortName(record.actor)}`;
  const why = granted ? record.serial : record.reason;
  return [time, safe(record.action).padEnd(17), outcome, safe(about).padEnd(20), safe(by), style.dim(safe(why))]
    .filter((part) => part !== '')
    .join('  ');
}

/** Who it is about; an event about a key has its id instead. */
function subjectOf(record: IdentityRecord): string {
  return record.subject === '' ? record.serial : shortName(record.subject);
}

export const identityColumns: readonly Column<IdentityRecord>[] = [
  { head: 'TIME', cell: (r) => r.time },
  { head: 'ACTION', cell: (r) => r.action },
  { head: 'OUTCOME', cell: (r) => r.outcome },
  { head: 'SUBJECT', cell: (r) => shortName(r.subject) },
  { head: 'ACTOR', cell: (r) => shortName(r.actor) },
  { head: 'SERIAL', cell: (r) => r.serial },
  { head: 'REASON', cell: (r) => r.reason },
  { head: 'EXPIRES', wide: true, cell: (r) => r.expiresAt ?? '' },
  { head: 'ENTRY', wide: true, cell: (r) => r.entry },
  { head: 'INSTANCE', wide: true, cell: (r) => r.instance },
  { head: 'METHOD', wide: true, cell: (r) => r.method },
  { head: 'SELECTORS', wide: true, cell: (r) => r.selectors.join(',') },
  { head: 'AUDIENCE', wide: true, cell: (r) => r.audience.join(',') },
  { head: 'SOURCE', wide: true, cell: (r) => r.source },
  { head: 'ID', cell: (r) => r.id },
];
