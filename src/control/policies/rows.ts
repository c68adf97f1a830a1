import type { Selectable, Transaction } from 'kysely';
import type { PolicyKey, PolicyKind, PolicyObject } from '../../core/policy/kinds.ts';
import { keyOf } from '../../core/policy/kinds.ts';
import type { Writer } from '../store/rehearse.ts';
import type { Store } from '../store/store.ts';
import type { PoliciesTable, Tables } from '../store/tables.ts';
import { noRevision, notFound } from './checks.ts';
import { labelsOf } from './labels.ts';
import type { ParsedSource } from './source.ts';

/** An object as it is stored. `object` carries the revision of its last change. */
export type StoredPolicy<K extends PolicyKind = PolicyKind> = PolicyObject<K> & StoredFields;

export interface StoredFields {
  readonly namespace: string;
  readonly name: string;
  /** Store revision of its last change: its ETag, and part of the rule ids that it decides with. */
  readonly revision: number;
  /** The document byte for byte as its author wrote it. */
  readonly source: string;
  /** Its own labels (`metadata.labels`): for lists, not for decisions. */
  readonly labels: Readonly<Record<string, string>>;
  /** Line of each rule of an AuthorizationPolicy in `source`, from 1; none for other kinds. */
  readonly ruleLines: readonly number[];
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly updatedBy: string;
}

export type PolicyRow = Selectable<PoliciesTable>;
type Reader = Pick<Store['db'], 'selectFrom'>;

export async function readRow(db: Reader, key: PolicyKey): Promise<PolicyRow | undefined> {
  return await db
    .selectFrom('policies')
    .selectAll()
    .where('kind', '=', key.kind)
    .where('namespace', '=', key.namespace)
    .where('name', '=', key.name)
    .executeTakeFirst();
}

/** The newest revision of an object, and the one that is asked for. Throws `not-found`. */
export async function readRevisions(db: Reader, key: PolicyKey, wanted: number) {
  const revisions = await db
    .selectFrom('policy_revisions')
    .select(['revision', 'source'])
    .where('kind', '=', key.kind)
    .where('namespace', '=', key.namespace)
    .where('name', '=', key.name)
    .where((eb) =>
      eb.or([
        eb('revision', '=', wanted),
        eb(
          'revision',
          '=',
          eb
            .selectFrom('policy_revisions as r')
            .select((r) => r.fn.max('r.revision').as('max'))
            .where('r.kind', '=', key.kind)
            .where('r.namespace', '=', key.namespace)
            .where('r.name', '=', key.name),
        ),
      ]),
    )
    .orderBy('revision')
    .execute();
  const latest = revisions.at(-1);
  if (latest === undefined) throw notFound(key);
  const target = revisions.find(({ revision }) => revision === wanted);
  if (target === undefined) throw noRevision(key, wanted);
  return { latest, target };
}

/** Who changes an object, why and when. */
export interface ChangeNote {
  readonly author: string;
  readonly reason: string | null;
  readonly time: number;
}

export interface Replacement extends ChangeNote {
  readonly parsed: ParsedSource;
  readonly before: PolicyRow | undefined;
  /** The revision that is rolled back to. */
  readonly restores?: number;
}

/** The same text again is no new revision. */
export async function replaceRow(
  store: Writer,
  trx: Transaction<Tables>,
  change: Replacement,
): Promise<{ readonly policy: StoredPolicy; readonly created: boolean }> {
  const { parsed, before } = change;
  if (before !== undefined && before.source === parsed.source) {
    return { policy: toStored(before, parsed), created: false };
  }
  const row = await writeRow(store, trx, change);
  return { policy: toStored(row, parsed), created: before === undefined };
}

async function writeRow(store: Writer, trx: Transaction<Tables>, change: Replacement): Promise<PolicyRow> {
  const { parsed, author, reason, time, before, restores = null } = change;
  const { source } = parsed;
  const key = keyOf(parsed);
  const revision = await store.nextRevision(trx);
  const labels = JSON.stringify(labelsOf(source));
  const changed = { revision, source, labels, updated_at: time, updated_by: author };
  const row = { ...key, created_at: before?.created_at ?? time, ...changed };
  await trx
    .insertInto('policies')
    .values(row)
    .onConflict((conflict) => conflict.columns(['kind', 'namespace', 'name']).doUpdateSet(changed))
    .execute();
  await trx
    .insertInto('policy_revisions')
    .values({ revision, ...key, operation: 'put', source, author, time, reason, restores })
    .execute();
  return row;
}

/** Returns the revision as of which it is gone. */
export async function removeRow(
  store: Writer,
  trx: Transaction<Tables>,
  key: PolicyKey,
  { author, reason, time }: ChangeNote,
): Promise<number> {
  const { kind, namespace, name } = key;
  await trx
    .deleteFrom('policies')
    .where('kind', '=', kind)
    .where('namespace', '=', namespace)
    .where('name', '=', name)
    .execute();
  const revision = await store.nextRevision(trx);
  await trx
    .insertInto('policy_revisions')
    .values({ revision, kind, namespace, name, operation: 'delete', source: null, author, time, reason })
    .execute();
  return revision;
}

export function toStored(row: PolicyRow, parsed: ParsedSource): StoredPolicy {
  return Object.freeze({
    ...withRevision(parsed, row.revision),
    namespace: row.namespace,
    name: row.name,
    revision: row.revision,
    source: row.source,
    labels: Object.freeze(JSON.parse(row.labels) as Record<string, string>),
    ruleLines: parsed.ruleLines,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    updatedBy: row.updated_by,
  });
}

/** What was read, as of the revision under which it is stored. */
export function withRevision({ kind, object }: PolicyObject, revision: number): PolicyObject {
  // One of the kinds: a union of pairs does not survive being taken apart.
  return { kind, object: Object.freeze({ ...object, revision }) } as PolicyObject;
}
