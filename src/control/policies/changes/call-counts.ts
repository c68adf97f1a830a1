import { sql } from 'kysely';
import type { CallCounts } from '../../../core/policy/rollout.ts';
import { noCalls } from '../../../core/policy/rollout.ts';
import type { Store } from '../../store/store.ts';

export type CountsByProxy = ReadonlyMap<string, CallCounts>;

/** Statuses from here on are failures of whoever answered. */
const FIRST_ERROR_STATUS = 500;

/** The calls that each sidecar has recorded in a time, by instance id: `since` inclusive, `until` exclusive. */
export async function countCalls(
  db: Pick<Store['db'], 'selectFrom'>,
  period: { readonly since: number; readonly until: number },
): Promise<CountsByProxy> {
  const rows = await db
    .selectFrom('audit_records as r')
    .leftJoin('audit_completions as c', (join) =>
      join.onRef('c.sidecar', '=', 'r.sidecar').onRef('c.call', '=', 'r.call'),
    )
    .select((eb) => [
      'r.sidecar',
      eb.fn.countAll().as('calls'),
      sql<number>`sum(case when r.decision = 'deny' then 1 else 0 end)`.as('denials'),
      sql<number>`sum(case when c.status >= ${FIRST_ERROR_STATUS} then 1 else 0 end)`.as('errors'),
    ])
    .where('r.time', '>=', period.since)
    .where('r.time', '<', period.until)
    .groupBy('r.sidecar')
    .execute();
  return new Map(
    rows.map(({ sidecar, calls, denials, errors }) => [
      sidecar,
      { calls: Number(calls), denials: Number(denials), errors: Number(errors) },
    ]),
  );
}

/** Of those sidecars together. */
export function sumOf(counts: CountsByProxy, instanceIds: Iterable<string>): CallCounts {
  let sum = noCalls;
  for (const instanceId of instanceIds) {
    const { calls, denials, errors } = counts.get(instanceId) ?? noCalls;
    sum = { calls: sum.calls + calls, denials: sum.denials + denials, errors: sum.errors + errors };
  }
  return sum;
}

/** The rules that denied most of the calls of these sidecars in a time, most first: for people. */
export async function topDenials(
  db: Pick<Store['db'], 'selectFrom'>,
  instanceIds: readonly string[],
  period: { readonly since: number; readonly until: number },
): Promise<readonly { readonly rule: string; readonly count: number }[]> {
  if (instanceIds.length === 0) return [];
  const rows = await db
    .selectFrom('audit_records')
    .select((eb) => ['rule', eb.fn.countAll().as('count')])
    .where('decision', '=', 'deny')
    .where('sidecar', 'in', instanceIds.slice(0, MAX_IDS))
    .where('time', '>=', period.since)
    .where('time', '<', period.until)
    .groupBy('rule')
    .orderBy((eb) => eb.fn.countAll(), 'desc')
    .limit(3)
    .execute();
  return rows.map(({ rule, count }) => ({ rule, count: Number(count) }));
}

/** Fits the number of parameters that every database takes in one statement. */
const MAX_IDS = 500;
