import type { Selectable, Transaction } from 'kysely';
import type { PolicyKind } from '../../../core/policy/kinds.ts';
import type { RolloutBounds } from '../../../core/policy/rollout.ts';
import type { PolicyChangeDocumentsTable, PolicyChangesTable, PolicyRolloutsTable } from '../../store/change-tables.ts';
import type { Store } from '../../store/store.ts';
import type { Tables } from '../../store/tables.ts';
import type { ChangeAction, ChangeDocument, ChangeEvent, Observed, PolicyChange, Rollout } from './change.ts';

export type ChangeRow = Selectable<PolicyChangesTable>;
export type RolloutRow = Selectable<PolicyRolloutsTable>;
type Reader = Pick<Store['db'], 'selectFrom'>;

export async function readChange(db: Reader, revision: number): Promise<ChangeRow | undefined> {
  return await db.selectFrom('policy_changes').selectAll().where('revision', '=', revision).executeTakeFirst();
}

export async function readRollout(db: Reader, change: number): Promise<RolloutRow | undefined> {
  return await db.selectFrom('policy_rollouts').selectAll().where('change', '=', change).executeTakeFirst();
}

/** The one that is rolled out now. There is never a second one. */
export async function readRolling(db: Reader): Promise<ChangeRow | undefined> {
  return await db.selectFrom('policy_changes').selectAll().where('state', '=', 'rolling').executeTakeFirst();
}

export async function readDocuments(
  db: Reader,
  changes: readonly number[],
): Promise<ReadonlyMap<number, readonly ChangeDocument[]>> {
  const found = new Map<number, ChangeDocument[]>(changes.map((change) => [change, []]));
  if (changes.length === 0) return found;
  const rows = await db
    .selectFrom('policy_change_documents')
    .selectAll()
    .where('change', 'in', changes)
    .orderBy('change')
    .orderBy('place')
    .execute();
  for (const row of rows) found.get(row.change)?.push(toDocument(row));
  return found;
}

export async function readEvents(db: Reader, change: number): Promise<readonly ChangeEvent[]> {
  const rows = await db
    .selectFrom('policy_change_events')
    .selectAll()
    .where('change', '=', change)
    .orderBy('place')
    .execute();
  return rows.map(({ time, actor, action, detail }) =>
    Object.freeze({ time, actor, action: action as ChangeAction, detail }),
  );
}

export async function addEvent(trx: Transaction<Tables>, change: number, event: ChangeEvent): Promise<void> {
  const { last } = await trx
    .selectFrom('policy_change_events')
    .select((eb) => eb.fn.max('place').as('last'))
    .where('change', '=', change)
    .executeTakeFirstOrThrow();
  const place = (last ?? -1) + 1;
  await trx
    .insertInto('policy_change_events')
    .values({ change, place, ...event })
    .execute();
}

/** As far as it is not over: one whose time has run out is expired, whether somebody has written that down or not. */
export function stateOf(row: ChangeRow, now: number): PolicyChange['state'] {
  return (row.state === 'proposed' || row.state === 'approved') && now >= row.expires_at ? 'expired' : row.state;
}

export function toChange(
  row: ChangeRow,
  documents: readonly ChangeDocument[],
  rollout: RolloutRow | undefined,
  now: number,
): PolicyChange {
  return Object.freeze({
    revision: row.revision,
    state: stateOf(row, now),
    author: row.author,
    reason: row.reason,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    approver: row.approver,
    why: row.why,
    appliedRevision: row.applied_revision,
    updatedAt: row.updated_at,
    documents,
    rollout: rollout === undefined ? null : toRollout(rollout),
  });
}

export function toRollout(row: RolloutRow): Rollout {
  return Object.freeze({
    steps: JSON.parse(row.steps) as number[],
    bakeMs: row.bake_ms,
    bounds: JSON.parse(row.bounds) as RolloutBounds,
    startedBy: row.started_by,
    startedAt: row.started_at,
    step: row.step,
    threshold: row.threshold,
    chosen: row.chosen,
    stepStartedAt: row.step_started_at,
    bakeStartedAt: row.bake_started_at,
    stepRevision: row.step_revision,
    observed: JSON.parse(row.observed) as Observed,
  });
}

function toDocument(row: Selectable<PolicyChangeDocumentsTable>): ChangeDocument {
  const { operation, namespace, name, source, replaces, revision } = row;
  return Object.freeze({ operation, kind: row.kind as PolicyKind, namespace, name, source, replaces, revision });
}
