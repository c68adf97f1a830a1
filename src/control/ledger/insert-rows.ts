import { setImmediate } from 'node:timers/promises';
import type { Transaction } from 'kysely';
import type { AuditNotesTable, AuditRecordsTable, AuditTables, IdentityEventsTable } from '../store/audit-tables.ts';
import { insertAdminRows } from './admin-rows.ts';
import type { IndexRows } from './index-batch.ts';

/** Rows that share a statement: SQLite takes 32,766 values in one. */
const ROWS_PER_STATEMENT = 200;

type Trx = Transaction<AuditTables>;

/**
 * Inserts `rows`, and returns what is new: without the records of calls that were there already, since the first record of a
 * call stays, and with a note for each of those that says something else. `rows` are left alone: a transaction may be run
 * again.
 */
export async function insertRows(trx: Trx, rows: IndexRows): Promise<IndexRows> {
  const records: AuditRecordsTable[] = [];
  const notes = [...rows.notes];
  for (const some of chunks(rows.records, ROWS_PER_STATEMENT)) {
    const inserted = await trx
      .insertInto('audit_records')
      .values(some)
      .onConflict((conflict) => conflict.doNothing())
      .returning('place')
      .execute();
    const places = new Set(inserted.map(({ place }) => place));
    records.push(...some.filter(({ place }) => places.has(place)));
    const leftOut = some.filter(({ place }) => !places.has(place));
    if (leftOut.length > 0) notes.push(...(await contradictions(trx, leftOut)));
    // SQLite works on this thread: others get their turn between statements.
    await setImmediate();
  }
  for (const some of chunks(rows.completions, ROWS_PER_STATEMENT)) {
    await trx
      .insertInto('audit_completions')
      .values(some)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await setImmediate();
  }
  for (const some of chunks(notes, ROWS_PER_STATEMENT)) {
    await trx
      .insertInto('audit_notes')
      .values(some)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await setImmediate();
  }
  const identities: IdentityEventsTable[] = [];
  for (const some of chunks(rows.identities, ROWS_PER_STATEMENT)) {
    const inserted = await trx
      .insertInto('identity_events')
      .values(some)
      .onConflict((conflict) => conflict.doNothing())
      .returning('place')
      .execute();
    const places = new Set(inserted.map(({ place }) => place));
    identities.push(...some.filter(({ place }) => places.has(place)));
    await setImmediate();
  }
  const admins = await insertAdminRows(trx, rows.admins);
  return { records, completions: rows.completions, notes, identities, admins };
}

/**
 * Notes about those of `leftOut` that are not what was recorded of their call before. The same event again is no news: a
 * sidecar that lost its state ships what its spool still holds once more.
 */
async function contradictions(trx: Trx, leftOut: readonly AuditRecordsTable[]): Promise<AuditNotesTable[]> {
  const kept = await trx
    .selectFrom('audit_records')
    .select(['sidecar', 'epoch', 'seq', 'call', 'event_hash'])
    .where('sidecar', 'in', [...new Set(leftOut.map(({ sidecar }) => sidecar))])
    .where('call', 'in', [...new Set(leftOut.map(({ call }) => call))])
    .execute();
  const byCall = new Map(kept.map((row) => [keyOf(row), row]));
  return leftOut.flatMap((row) => {
    const first = byCall.get(keyOf(row));
    if (first === undefined || first.event_hash === row.event_hash) return [];
    const { sidecar, epoch, seq, leaf, time, call } = row;
    const detail = `Call ${call} is recorded otherwise as ${sidecar}.${first.epoch}.${first.seq}, which is what is shown.`;
    return [{ sidecar, epoch, seq, leaf, kind: 'repeated-call' as const, time, detail }];
  });
}

/** Neither part of it contains a space. */
function keyOf({ sidecar, call }: Pick<AuditRecordsTable, 'sidecar' | 'call'>): string {
  return `${call} ${sidecar}`;
}

export function chunks<T>(items: readonly T[], size: number): T[][] {
  const result: T[][] = [];
  for (let i = 0; i < items.length; i += size) result.push(items.slice(i, i + size));
  return result;
}
