import type { Selectable } from 'kysely';
import { unifiedDiff } from '../../base/unified-diff.ts';
import type { PolicyKey, PolicyKind } from '../../core/policy/kinds.ts';
import type { Cursors, Page, PageRequest } from '../store/page.ts';
import { pageLimit } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import type { PolicyRevisionsTable } from '../store/tables.ts';
import { noRevision } from './checks.ts';

/** One change of one object. Kept for ever. */
export interface PolicyRevision extends PolicyKey {
  /** Of the store: it grows by one with every change to anything. */
  readonly revision: number;
  readonly operation: 'put' | 'delete';
  readonly author: string;
  /** null: none was given. */
  readonly reason: string | null;
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** The revision whose content it has again; null where it is no rollback. */
  readonly restores: number | null;
  /** The revision of the same object before it; null for the first. */
  readonly previous: number | null;
}

export interface FullRevision extends PolicyRevision {
  /** null for a deletion. */
  readonly source: string | null;
  /** What it changed, as a unified diff. */
  readonly diff: string;
}

/** All that are given must hold. */
export interface RevisionFilter extends PageRequest {
  readonly kind?: PolicyKind | undefined;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly author?: string | undefined;
  /** At or after; milliseconds since the epoch. */
  readonly since?: number | undefined;
  /** Before. */
  readonly until?: number | undefined;
}

/** What was changed, by whom, why and when. Reads only: the store of policies writes it. */
export class PolicyHistory {
  readonly #store: Pick<Store, 'db' | 'cursors'>;

  constructor(store: { readonly db: Store['db']; readonly cursors: Cursors }) {
    this.#store = store;
  }

  /** Newest first. Throws `invalid` for a bad limit, `invalid-cursor`, `cursor-expired`. */
  async list(filter: RevisionFilter = {}): Promise<Page<PolicyRevision>> {
    const { kind, namespace, name, author, since, until } = filter;
    const { cursors } = this.#store;
    const limit = pageLimit(filter.limit);
    const filters = [kind, namespace, name, author, since, until];
    const scope = `policy-revisions ${JSON.stringify(filters.map((one) => one ?? null))}`;
    const [before] = cursors.open(scope, filter.cursor) ?? [];
    let query = this.#select();
    if (kind !== undefined) query = query.where('kind', '=', kind);
    if (namespace !== undefined) query = query.where('namespace', '=', namespace);
    if (name !== undefined) query = query.where('name', '=', name);
    if (author !== undefined) query = query.where('author', '=', author);
    if (since !== undefined) query = query.where('time', '>=', since);
    if (until !== undefined) query = query.where('time', '<', until);
    if (before !== undefined) query = query.where('revision', '<', Number(before));
    const rows = await query
      .orderBy('revision', 'desc')
      .limit(limit + 1)
      .execute();
    const page = cursors.page(scope, rows, limit, (row) => [row.revision]);
    return { items: page.items.map(toRevision), nextCursor: page.nextCursor };
  }

  /** One revision of an object, with its text. Throws `not-found`. */
  async get(key: PolicyKey, revision: number): Promise<FullRevision> {
    const { kind, namespace, name } = key;
    const row = await this.#select()
      .select('source')
      .where('revision', '=', revision)
      .where('kind', '=', kind)
      .where('namespace', '=', namespace)
      .where('name', '=', name)
      .executeTakeFirst();
    if (row === undefined) throw noRevision(key, revision);
    const { source } = row;
    const before = row.previous === null ? null : await this.#sourceOf(row.previous);
    const diff = unifiedDiff(before ?? undefined, source ?? undefined, {
      from: `${namespace}/${name}@${row.previous}`,
      to: `${namespace}/${name}@${revision}`,
    });
    return Object.freeze({ ...toRevision(row), source, diff });
  }

  async #sourceOf(revision: number): Promise<string | null> {
    const { db } = this.#store;
    const row = await db
      .selectFrom('policy_revisions')
      .select('source')
      .where('revision', '=', revision)
      .executeTakeFirst();
    return row?.source ?? null;
  }

  #select() {
    return this.#store.db
      .selectFrom('policy_revisions')
      .select(['revision', 'kind', 'namespace', 'name', 'operation', 'author', 'reason', 'time', 'restores'])
      .select((eb) =>
        eb
          .selectFrom('policy_revisions as earlier')
          .select((of) => of.fn.max('earlier.revision').as('max'))
          .whereRef('earlier.kind', '=', 'policy_revisions.kind')
          .whereRef('earlier.namespace', '=', 'policy_revisions.namespace')
          .whereRef('earlier.name', '=', 'policy_revisions.name')
          .whereRef('earlier.revision', '<', 'policy_revisions.revision')
          .as('previous'),
      );
  }
}

type Row = Omit<Selectable<PolicyRevisionsTable>, 'source'> & { readonly previous: number | null };

function toRevision(row: Row): PolicyRevision {
  const { revision, kind, namespace, name, operation, author, reason, time, restores, previous } = row;
  return Object.freeze({ revision, kind, namespace, name, operation, author, reason, time, restores, previous });
}
