import type { Kysely, Selectable, SelectQueryBuilder } from 'kysely';
import { AppError } from '../../base/errors.ts';
import type { AdminRecord } from '../../core/audit/admin-event.ts';
import type { AdminQuery } from '../../core/audit/query.ts';
import type { AdminEventsTable, AuditTables } from '../store/audit-tables.ts';
import type { Cursors, Page } from '../store/page.ts';
import { pageLimit } from '../store/page.ts';
import { toAdminRecord } from './admin-rows.ts';
import { parseRecordId, storable } from './rows.ts';
import { onText } from './text-filter.ts';

type Db = Kysely<AuditTables>;

/** One page, newest first: by time, and among equal times by order of arrival. */
export async function searchAdmins(
  db: Db,
  cursors: Cursors,
  query: AdminQuery,
  sealedBelow: number,
): Promise<Page<AdminRecord>> {
  const limit = pageLimit(query.limit);
  const scope = `admin:${JSON.stringify(filtersOf(query))}`;
  const after = cursors.open(scope, query.cursor);
  let select = filtered(db.selectFrom('admin_events').selectAll(), query)
    .orderBy('time', 'desc')
    .orderBy('place', 'desc')
    .limit(limit + 1);
  if (after !== undefined) {
    const [time, place] = after.map(Number) as [number, number];
    select = select.where((eb) =>
      eb.or([eb('time', '<', time), eb.and([eb('time', '=', time), eb('place', '<', place)])]),
    );
    // Redundant, but it lets the database start in the middle of the index.
    select = select.where('time', '<=', time);
  }
  const rows = await select.execute();
  const page = cursors.page(scope, rows, limit, (row) => [row.time, row.place]);
  return { items: page.items.map((row) => toAdminRecord(row, sealedBelow)), nextCursor: page.nextCursor };
}

/** Throws `not-found`. */
export async function findAdmin(db: Db, id: string, sealedBelow: number): Promise<AdminRecord> {
  const key = parseRecordId(id);
  const row =
    key === undefined
      ? undefined
      : await db
          .selectFrom('admin_events')
          .selectAll()
          .where('recorder', '=', key.sidecar)
          .where('epoch', '=', key.epoch)
          .where('seq', '=', key.seq)
          .executeTakeFirst();
  if (row === undefined) throw new AppError('not-found', 'No administrative event has this id.');
  return toAdminRecord(row, sealedBelow);
}

type Select = SelectQueryBuilder<AuditTables, 'admin_events', Selectable<AdminEventsTable>>;

function filtered(select: Select, query: AdminQuery): Select {
  const { actor, action, outcome, operation, permission, object, address, request, since, until } = query;
  let q = select;
  // As `matchesAdmin`.
  if (outcome === undefined) q = q.where((eb) => eb.or([eb('outcome', '!=', 'begun'), eb('settled', '=', 0)]));
  else q = q.where('outcome', '=', outcome);
  // These are short: the whole text is what is indexed.
  if (actor !== undefined) q = q.where(onText('actor', 'actor', actor));
  if (permission !== undefined) q = q.where(onText('permission', 'permission', permission));
  if (object !== undefined) q = q.where(onText('object', 'object_start', object));
  if (action !== undefined) q = q.where('action', '=', action);
  if (operation !== undefined) q = q.where('operation', '=', storable(operation));
  if (address !== undefined) q = q.where('source', '=', storable(address));
  if (request !== undefined) q = q.where('request', '=', storable(request));
  if (since !== undefined) q = q.where('time', '>=', since);
  if (until !== undefined) q = q.where('time', '<', until);
  return q;
}

function filtersOf(query: AdminQuery): readonly unknown[] {
  const { actor, action, outcome, operation, permission, object, address, request, since, until } = query;
  return [actor, action, outcome, operation, permission, object, address, request, since, until].map(
    (value) => value ?? null,
  );
}
