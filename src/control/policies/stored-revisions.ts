import type { Store } from '../store/store.ts';

const REVISIONS_PER_STATEMENT = 500;

/**
 * Which revisions were in force for everybody: those of the history. While a change rolls out, some sidecars say a revision that
 * is none of these, and what they had cannot be told from the policies in force.
 */
export class StoredRevisions {
  readonly #store: Store;
  readonly #known = new Map<number, boolean>();

  constructor(store: Store) {
    this.#store = store;
  }

  async look(revisions: readonly number[]): Promise<void> {
    const missing = [...new Set(revisions)].filter((revision) => !this.#known.has(revision));
    for (let start = 0; start < missing.length; start += REVISIONS_PER_STATEMENT) {
      const some = missing.slice(start, start + REVISIONS_PER_STATEMENT);
      const found = await this.#store.db
        .selectFrom('policy_revisions')
        .select('revision')
        .where('revision', 'in', some)
        .execute();
      const there = new Set(found.map((row) => row.revision));
      for (const revision of some) this.#known.set(revision, there.has(revision));
    }
  }

  has(revision: number): boolean {
    return this.#known.get(revision) === true;
  }
}
