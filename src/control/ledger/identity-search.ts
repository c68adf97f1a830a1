import type { Kysely, Selectable, SelectQueryBuilder } from 'kysely';
import { AppError } from '../../base/errors.ts';
import type { IdentityRecord } from '../../core/audit/event.ts';
import type { IdentityQuery } from '../../core/audit/query.ts';
import type { AuditTables, IdentityEventsTable } from '../store/audit-tables.ts';
import type { Cursors, Page } from '../store/page.ts';
import { pageLimit } from '../store/page.ts';
import { toIdentityRecord } from './identity-rows.ts';
import { parseRecordId, storable } from './rows.ts';
import { onText } from './text-filter.ts';

type Db = Kysely<AuditTables>;

/** One page, newest first: by time, and among equal times by order of arrival. */
export async function searchIdentities(
  db: Db,
  cursors: Cursors,
  query: IdentityQuery,
  sealedBelow: number,
): Promise<Page<IdentityRecord>> {
  const limit = pageLimit(query.limit);
  const scope = `identity:${JSON.stringify(filtersOf(query))}`;
  const after = cursors.open(scope, query.cursor);
  let select = filtered(db.selectFrom('identity_events').selectAll(), query)
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
  return { items: page.items.map((row) => toIdentityRecord(row, sealedBelow)), nextCursor: page.nextCursor };
}

/** Throws `not-found`. */
export async function findIdentity(db: Db, id: string, sealedBelow: number): Promise<IdentityRecord> {
  const key = parseRecordId(id);
  const row =
    key === undefined
      ? undefined
      : await db
          .selectFrom('identity_events')
          .selectAll()
          .where('recorder', '=', key.sidecar)
          .where('epoch', '=', key.epoch)
          .where('seq', '=', key.seq)
          .executeTakeFirst();
  if (row === undefined) throw new AppError('not-found', 'No identity event has this id.');
  return toIdentityRecord(row, sealedBelow);
}

type Select = SelectQueryBuilder<AuditTables, 'identity_events', Selectable<IdentityEventsTable>>;

function filtered(select: Select, query: IdentityQuery): Select {
  const { subject, actor, action, outcome, entry, serial, since, until } = query;
  let q = select;
  if (subject !== undefined) q = q.where(onText('subject', 'subject_start', subject));
  if (actor !== undefined) q = q.where(onText('actor', 'actor_start', actor));
  if (action !== undefined) q = q.where('action', '=', action);
  if (outcome !== undefined) q = q.where('outcome', '=', outcome);
  if (entry !== undefined) q = q.where('entry', '=', storable(entry));
  if (serial !== undefined) q = q.where('serial', '=', storable(serial));
  if (since !== undefined) q = q.where('time', '>=', since);
  if (until !== undefined) q = q.where('time', '<', until);
  return q;
}

function filtersOf(query: IdentityQuery): readonly unknown[] {
  const { subject, actor, action, outcome, entry, serial, since, until } = query;
  return [subject, actor, action, outcome, entry, serial, since, until].map((value) => value ?? null);
}
