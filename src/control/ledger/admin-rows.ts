import { setImmediate } from 'node:timers/promises';
import type { Selectable, Transaction } from 'kysely';
import type { AdminEvent, AdminRecord } from '../../core/audit/admin-event.ts';
import { MAX_BATCH_EVENTS } from '../../core/audit/ship.ts';
import type { AdminEventsTable, AuditTables } from '../store/audit-tables.ts';
import type { EventPlace } from './rows.ts';
import { indexedStart, proofOf, storable } from './rows.ts';

/** Rows that share a statement: SQLite takes 32,766 values in one. */
const ROWS_PER_STATEMENT = 200;

export function toAdminRow(event: AdminEvent, at: EventPlace): AdminEventsTable {
  const object = storable(event.object);
  return {
    recorder: at.sidecar,
    epoch: at.epoch,
    seq: at.seq,
    place: at.leaf * MAX_BATCH_EVENTS + at.index,
    leaf: at.leaf,
    time: event.time,
    action: event.action,
    outcome: event.outcome,
    settled: event.outcome === 'begun' ? 0 : 1,
    actor: storable(event.actor),
    role: storable(event.role),
    credential: storable(event.credential),
    source: storable(event.source),
    operation: storable(event.operation),
    permission: storable(event.permission),
    object,
    object_start: indexedStart(object),
    query: storable(event.query),
    request: storable(event.request),
    status: event.status,
    count: event.count,
    last_time: event.lastTime,
    before_hash: event.before,
    after_hash: event.after,
    detail: storable(event.detail),
    reason: storable(event.reason),
  };
}

/**
 * Inserts `rows`, and returns those that are new. How a write ended stands behind its beginning in the chain of the same
 * recorder, so whatever `rows` say of an end, its beginning is there by then.
 */
export async function insertAdminRows(
  trx: Transaction<AuditTables>,
  rows: readonly AdminEventsTable[],
): Promise<AdminEventsTable[]> {
  const ended = rows.filter((row) => row.outcome !== 'begun' && row.request !== '');
  const endings = new Set(ended.map(requestOf));
  const added: AdminEventsTable[] = [];
  for (let from = 0; from < rows.length; from += ROWS_PER_STATEMENT) {
    const some = rows
      .slice(from, from + ROWS_PER_STATEMENT)
      .map((row) => (endings.has(requestOf(row)) ? { ...row, settled: 1 } : row));
    const inserted = await trx
      .insertInto('admin_events')
      .values(some)
      .onConflict((conflict) => conflict.doNothing())
      .returning('place')
      .execute();
    const places = new Set(inserted.map(({ place }) => place));
    added.push(...some.filter(({ place }) => places.has(place)));
    // SQLite works on this thread: others get their turn between statements.
    await setImmediate();
  }
  for (let from = 0; from < ended.length; from += ROWS_PER_STATEMENT) {
    const some = ended.slice(from, from + ROWS_PER_STATEMENT);
    await trx
      .updateTable('admin_events')
      .set({ settled: 1 })
      .where('request', 'in', [...new Set(some.map(({ request }) => request))])
      .where('recorder', 'in', [...new Set(some.map(({ recorder }) => recorder))])
      .where('outcome', '=', 'begun')
      .execute();
  }
  return added;
}

/** Neither part of it contains a space. */
function requestOf({ recorder, request }: Pick<AdminEventsTable, 'recorder' | 'request'>): string {
  return `${recorder} ${request}`;
}

/** @param sealedBelow batches that the published checkpoint covers */
export function toAdminRecord(row: Selectable<AdminEventsTable>, sealedBelow: number): AdminRecord {
  return Object.freeze({
    id: `${row.recorder}.${row.epoch}.${row.seq}`,
    time: new Date(row.time).toISOString(),
    action: row.action as AdminRecord['action'],
    outcome: row.outcome as AdminRecord['outcome'],
    settled: row.settled === 1,
    actor: row.actor,
    role: row.role,
    credential: row.credential,
    source: row.source,
    operation: row.operation,
    permission: row.permission,
    object: row.object,
    query: row.query,
    request: row.request,
    status: row.status,
    count: row.count,
    lastTime: row.last_time === 0 ? null : new Date(row.last_time).toISOString(),
    before: row.before_hash,
    after: row.after_hash,
    detail: row.detail,
    reason: row.reason,
    recorder: row.recorder,
    epoch: row.epoch,
    sequence: row.seq,
    proof: proofOf(row.leaf, sealedBelow),
  });
}
