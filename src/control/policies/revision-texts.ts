import type { Store } from '../store/store.ts';

/** What one revision changed. */
export interface RevisionText {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly revision: number;
  /** `undefined`: it was not there. */
  readonly before: string | undefined;
  /** `undefined`: it is gone. */
  readonly after: string | undefined;
}

/** What a revision changed, by its number alone: for the record of who did what. */
export class RevisionTexts {
  readonly #db: Store['db'];

  constructor(store: Pick<Store, 'db'>) {
    this.#db = store.db;
  }

  /** The newest revision of the store, whichever replica made it: whatever is changed from now on has a greater one. */
  async head(): Promise<number> {
    return (await this.#db.selectFrom('feed').select('head').where('id', '=', 1).executeTakeFirstOrThrow()).head;
  }

  /** `undefined`: the revision is of no policy. */
  async at(revision: number): Promise<RevisionText | undefined> {
    const row = await this.#db
      .selectFrom('policy_revisions')
      .select(['kind', 'namespace', 'name', 'source'])
      .where('revision', '=', revision)
      .executeTakeFirst();
    if (row === undefined) return undefined;
    const { kind, namespace, name, source } = row;
    const before = await this.#db
      .selectFrom('policy_revisions')
      .select('source')
      .where('kind', '=', kind)
      .where('namespace', '=', namespace)
      .where('name', '=', name)
      .where('revision', '<', revision)
      .orderBy('revision', 'desc')
      .limit(1)
      .executeTakeFirst();
    return { kind, namespace, name, revision, before: before?.source ?? undefined, after: source ?? undefined };
  }
}
