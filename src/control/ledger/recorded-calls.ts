import { setImmediate } from 'node:timers/promises';
import type { Kysely, SelectQueryBuilder } from 'kysely';
import { sql } from 'kysely';
import { MAX_RECORDED_TEXT } from '../../core/audit/event.ts';
import type { DecisionReason } from '../../core/policy/model.ts';
import type { RecordedCalls } from '../../core/policy/recorded-call.ts';
import type { AuditTables } from '../store/audit-tables.ts';

export interface RecordedQuery {
  /** Milliseconds since the epoch: not before. */
  readonly since: number;
  /** Before. */
  readonly until: number;
  /** SPIFFE ID of the called workload. Default: any. */
  readonly destination?: string;
}

export interface RecordedPage {
  /** Each call once; equal ones together. */
  readonly calls: readonly RecordedCalls[];
  /** Every call of the window from this time on (milliseconds since the epoch) has been read. */
  readonly from: number;
}

/**
 * Rows that one statement reads. With the embedded database the whole process waits while it runs: about 15 ms.
 */
const ROWS_PER_PAGE = 5_000;

/**
 * The recorded calls of a window, newest first, in pages of bounded size; equal calls of a page are counted by the database. What
 * is recorded meanwhile with an earlier time may be left out. Between pages everybody else has a turn. Throws the signal's reason.
 */
export async function* readRecordedCalls(
  db: Kysely<AuditTables>,
  query: RecordedQuery,
  signal?: AbortSignal,
): AsyncGenerator<RecordedPage, void, undefined> {
  let before: Place | undefined;
  for (;;) {
    signal?.throwIfAborted();
    const last = await findEnd(db, query, before);
    const calls = await readPage(db, query, before, last);
    yield { calls, from: last?.time ?? query.since };
    if (last === undefined) return;
    before = last;
    await setImmediate();
  }
}

interface Place {
  readonly time: number;
  readonly place: number;
}

/** Of the last row of the page; undefined when the page is the last one. */
async function findEnd(db: Kysely<AuditTables>, query: RecordedQuery, before: Place | undefined) {
  return await within(db.selectFrom('audit_records').select(['time', 'place']), query, before, undefined)
    .orderBy('time', 'desc')
    .orderBy('place', 'desc')
    .offset(ROWS_PER_PAGE - 1)
    .limit(1)
    .executeTakeFirst();
}

const columns = [
  ...['source', 'destination', 'protocol', 'method', 'host', 'path', 'port'],
  ...['decision', 'reason', 'rule', 'policy_revision'],
] as const as readonly Column[];
type Column = keyof Pick<
  AuditTables['audit_records'],
  | 'source'
  | 'destination'
  | 'protocol'
  | 'method'
  | 'host'
  | 'path'
  | 'port'
  | 'decision'
  | 'reason'
  | 'rule'
  | 'policy_revision'
>;

async function readPage(
  db: Kysely<AuditTables>,
  query: RecordedQuery,
  before: Place | undefined,
  last: Place | undefined,
): Promise<readonly RecordedCalls[]> {
  const select = db.selectFrom('audit_records').select(columns);
  const rows = await within(select, query, before, last)
    .select('token_subject')
    .select((eb) => eb.fn.countAll<number>().as('calls'))
    .select((eb) => eb.fn.max('time').as('last'))
    .select(sql<string>`max(sidecar || '.' || epoch || '.' || seq)`.as('example'))
    .groupBy([...columns, 'token_subject'])
    .execute();
  return rows.map((row) => ({
    source: row.source,
    destination: row.destination,
    protocol: row.protocol as RecordedCalls['protocol'],
    method: row.method,
    host: row.host,
    path: row.path,
    port: row.port,
    tokenSubject: row.token_subject,
    decision: row.decision as RecordedCalls['decision'],
    reason: row.reason as DecisionReason,
    rule: row.rule,
    policyRevision: row.policy_revision,
    calls: Number(row.calls),
    example: row.example,
    last: row.last,
    ...((isCut(row.host) || isCut(row.path)) && { cut: { host: isCut(row.host), path: isCut(row.path) } }),
  }));
}

/** After `before` and up to and with `last`, in the order of the index. */
function within<O>(
  select: SelectQueryBuilder<AuditTables, 'audit_records', O>,
  { since, until, destination }: RecordedQuery,
  before: Place | undefined,
  last: Place | undefined,
): SelectQueryBuilder<AuditTables, 'audit_records', O> {
  // The bounds of time alone are redundant, but let the database start and end in the middle of its index.
  let q = select.where('time', '>=', last?.time ?? since).where('time', '<=', before?.time ?? until - 1);
  // Who is called records the same call: what egress policies decided on its way out is no call of its own.
  q = q.where('direction', 'is', null);
  if (destination !== undefined) q = q.where('destination', '=', destination);
  if (before !== undefined) {
    const { time, place } = before;
    q = q.where((eb) => eb.or([eb('time', '<', time), eb.and([eb('time', '=', time), eb('place', '<', place)])]));
  }
  if (last === undefined) return q;
  const { time, place } = last;
  return q.where((eb) => eb.or([eb('time', '>', time), eb.and([eb('time', '=', time), eb('place', '>=', place)])]));
}

/** Cut texts end so; see `canonical.ts`. A surrogate pair is not cut in half. */
function isCut(text: string): boolean {
  return text.length >= MAX_RECORDED_TEXT - 1 && text.endsWith('…');
}
