import type { Kysely, SelectQueryBuilder } from 'kysely';
import { AppError } from '../../base/errors.ts';
import type { AuditRecord } from '../../core/audit/event.ts';
import type { AuditQuery } from '../../core/audit/query.ts';
import type { AuditTables } from '../store/audit-tables.ts';
import type { Cursors, Page } from '../store/page.ts';
import { pageLimit } from '../store/page.ts';
import type { JoinedRow } from './rows.ts';
import { parseRecordId, storable, toAuditRecord } from './rows.ts';
import { onText } from './text-filter.ts';

type Db = Kysely<AuditTables>;

/** One page of the index, newest first: by time, and among equal times by order of arrival. */
export async function searchRecords(
  db: Db,
  cursors: Cursors,
  query: AuditQuery,
  sealedBelow: number,
): Promise<Page<AuditRecord>> {
  const limit = pageLimit(query.limit);
  const scope = `audit:${JSON.stringify(filtersOf(query))}`;
  const after = cursors.open(scope, query.cursor);
  let select = filtered(joined(db), query)
    .orderBy('r.time', 'desc')
    .orderBy('r.place', 'desc')
    .limit(limit + 1);
  if (after !== undefined) {
    const [time, place] = after.map(Number) as [number, number];
    select = select.where((eb) =>
      eb.or([eb('r.time', '<', time), eb.and([eb('r.time', '=', time), eb('r.place', '<', place)])]),
    );
    // Redundant, but it lets the database start in the middle of the index.
    select = select.where('r.time', '<=', time);
  }
  const rows = await select.execute();
  const page = cursors.page(scope, rows, limit, (row) => [row.time, row.place]);
  return { items: page.items.map((row) => toAuditRecord(row, sealedBelow)), nextCursor: page.nextCursor };
}

/** Throws `not-found`. */
export async function findRecord(db: Db, id: string, sealedBelow: number): Promise<AuditRecord> {
  const key = parseRecordId(id);
  const row =
    key === undefined
      ? undefined
      : await joined(db)
          .where('r.sidecar', '=', key.sidecar)
          .where('r.epoch', '=', key.epoch)
          .where('r.seq', '=', key.seq)
          .executeTakeFirst();
  if (row === undefined) throw new AppError('not-found', 'No audit event has this id.');
  return toAuditRecord(row, sealedBelow);
}

/** The records of some calls of one sidecar, in the order of arrival. */
export async function findCalls(
  db: Db,
  sidecar: string,
  calls: readonly string[],
  sealedBelow: number,
): Promise<readonly AuditRecord[]> {
  if (calls.length === 0) return [];
  const rows = await joined(db)
    .where('r.sidecar', '=', sidecar)
    .where('r.call', 'in', calls)
    .orderBy('r.place')
    .execute();
  return rows.map((row) => toAuditRecord(row, sealedBelow));
}

type Joined = AuditTables & { r: AuditTables['audit_records']; c: AuditTables['audit_completions'] };
type JoinedSelect = SelectQueryBuilder<Joined, 'r' | 'c', JoinedRow>;

function joined(db: Db): JoinedSelect {
  const select = db
    .selectFrom('audit_records as r')
    .leftJoin('audit_completions as c', (join) =>
      join.onRef('c.sidecar', '=', 'r.sidecar').onRef('c.call', '=', 'r.call'),
    )
    .selectAll('r')
    .select(['c.status', 'c.duration_ms', 'c.cut_reason', 'c.cut_rule', 'c.cut_revision']);
  return select as unknown as JoinedSelect;
}

function filtered(select: JoinedSelect, query: AuditQuery): JoinedSelect {
  const { source, destination, decision, rule, path, trace, since, until } = query;
  let q = select;
  if (source !== undefined) q = q.where('r.source', '=', storable(source));
  if (destination !== undefined) q = q.where('r.destination', '=', storable(destination));
  if (decision !== undefined) q = q.where('r.decision', '=', decision);
  if (rule !== undefined) q = q.where('r.rule', '=', storable(rule));
  if (trace !== undefined) q = q.where('r.trace_id', '=', storable(trace));
  if (since !== undefined) q = q.where('r.time', '>=', since);
  if (until !== undefined) q = q.where('r.time', '<', until);
  if (path !== undefined) q = q.where(onText('r.path', 'r.path_start', path));
  return q;
}

function filtersOf(query: AuditQuery): readonly unknown[] {
  const { source, destination, decision, rule, path, trace, since, until } = query;
  return [source, destination, decision, rule, path, trace, since, until].map((value) => value ?? null);
}
