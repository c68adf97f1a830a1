import type { ExpressionBuilder } from 'kysely';
import type { Clock } from '../../../base/clock.ts';
import { unifiedDiff } from '../../../base/unified-diff.ts';
import type { ChangeState } from '../../../core/policy/change.ts';
import type { PageRequest, RevisedPage } from '../../store/page.ts';
import { pageLimit } from '../../store/page.ts';
import type { Store } from '../../store/store.ts';
import type { Tables } from '../../store/tables.ts';
import type { ChangeDocument, ChangeEvent, PolicyChange } from './change.ts';
import { noChange } from './refusals.ts';
import type { ChangeRow, RolloutRow } from './rows.ts';
import { readChange, readDocuments, readEvents, readRollout, toChange } from './rows.ts';

/** All that are given must hold. */
export interface ChangeFilter extends PageRequest {
  readonly state?: ChangeState | undefined;
  /** Those that change something in it. */
  readonly namespace?: string | undefined;
  readonly author?: string | undefined;
}

/** A document, and what it changes as a unified diff. */
export interface DocumentView extends ChangeDocument {
  readonly diff: string;
}

export interface FullChange extends PolicyChange {
  readonly documents: readonly DocumentView[];
  /** Oldest first. */
  readonly events: readonly ChangeEvent[];
}

/** What was proposed, by whom, and what became of it. Reads only. */
export class ChangeViews {
  readonly #store: Pick<Store, 'db' | 'cursors' | 'revision'>;
  readonly #clock: Pick<Clock, 'now'>;

  constructor(options: {
    readonly store: Pick<Store, 'db' | 'cursors' | 'revision'>;
    readonly clock: Pick<Clock, 'now'>;
  }) {
    this.#store = options.store;
    this.#clock = options.clock;
  }

  /** Newest first. Throws `invalid` for a bad limit, `invalid-cursor`, `cursor-expired`. */
  async list(filter: ChangeFilter = {}): Promise<RevisedPage<PolicyChange>> {
    const { state, namespace, author } = filter;
    const { db, cursors } = this.#store;
    const limit = pageLimit(filter.limit);
    const scope = `policy-changes ${JSON.stringify([state, namespace, author].map((one) => one ?? null))}`;
    const [before] = cursors.open(scope, filter.cursor) ?? [];
    const now = this.#clock.now();
    // Read before the rows, which are at least as new.
    const revision = this.#store.revision.current;
    let query = db.selectFrom('policy_changes').selectAll();
    if (state !== undefined) query = query.where(inState(state, now));
    if (author !== undefined) query = query.where('author', '=', author);
    if (namespace !== undefined) {
      query = query.where('revision', 'in', (eb) =>
        eb.selectFrom('policy_change_documents').select('change').where('namespace', '=', namespace),
      );
    }
    if (before !== undefined) query = query.where('revision', '<', Number(before));
    const rows = await query
      .orderBy('revision', 'desc')
      .limit(limit + 1)
      .execute();
    const page = cursors.page(scope, rows, limit, (row) => [row.revision]);
    return { items: await this.#toChanges(page.items, now), nextCursor: page.nextCursor, revision };
  }

  /** Throws `not-found`. */
  async get(revision: number): Promise<FullChange> {
    const { db } = this.#store;
    const row = await readChange(db, revision);
    if (row === undefined) throw noChange(revision);
    const documents = (await readDocuments(db, [revision])).get(revision) ?? [];
    const change = toChange(row, documents, await readRollout(db, revision), this.#clock.now());
    const views = await Promise.all(documents.map((document) => this.#toView(document)));
    return Object.freeze({ ...change, documents: views, events: await readEvents(db, revision) });
  }

  async #toChanges(rows: readonly ChangeRow[], now: number): Promise<readonly PolicyChange[]> {
    const { db } = this.#store;
    const revisions = rows.map(({ revision }) => revision);
    const documents = await readDocuments(db, revisions);
    const rollouts = new Map<number, RolloutRow>();
    if (revisions.length > 0) {
      const found = await db.selectFrom('policy_rollouts').selectAll().where('change', 'in', revisions).execute();
      for (const rollout of found) rollouts.set(rollout.change, rollout);
    }
    return rows.map((row) => toChange(row, documents.get(row.revision) ?? [], rollouts.get(row.revision), now));
  }

  async #toView(document: ChangeDocument): Promise<DocumentView> {
    const { kind, namespace, name, replaces, source, revision } = document;
    const before = replaces === null ? undefined : await this.#sourceOf(replaces);
    const diff = unifiedDiff(before, source ?? undefined, {
      from: `${kind}/${namespace}/${name}@${replaces}`,
      to: `${kind}/${namespace}/${name}@${revision}`,
    });
    return Object.freeze({ ...document, diff });
  }

  async #sourceOf(revision: number): Promise<string | undefined> {
    const row = await this.#store.db
      .selectFrom('policy_revisions')
      .select('source')
      .where('revision', '=', revision)
      .executeTakeFirst();
    return row?.source ?? undefined;
  }
}

/** As `stateOf` has it, whether or not somebody has written down yet that one has run out of time. */
function inState(state: ChangeState, now: number) {
  return (eb: ExpressionBuilder<Tables, 'policy_changes'>) => {
    if (state === 'proposed' || state === 'approved') {
      return eb.and([eb('state', '=', state), eb('expires_at', '>', now)]);
    }
    if (state !== 'expired') return eb('state', '=', state);
    const overdue = eb.and([eb('state', 'in', ['proposed', 'approved']), eb('expires_at', '<=', now)]);
    return eb.or([eb('state', '=', 'expired'), overdue]);
  };
}
