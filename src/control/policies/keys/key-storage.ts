import type { Store } from '../../store/store.ts';

/** The last good keys of each place, so that a restart while an issuer is away refuses nobody. */
export interface KeyStorage {
  load(): Promise<ReadonlyMap<string, { readonly jwks: string; readonly fetchedAt: number }>>;
  save(source: string, jwks: string, fetchedAt: number): Promise<void>;
  forget(source: string): Promise<void>;
}

export class StoredKeys implements KeyStorage {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  async load(): Promise<ReadonlyMap<string, { readonly jwks: string; readonly fetchedAt: number }>> {
    const rows = await this.#store.db.selectFrom('issuer_keys').selectAll().execute();
    return new Map(rows.map(({ source, jwks, fetched_at }) => [source, { jwks, fetchedAt: fetched_at }]));
  }

  /** Of two replicas the one that asked last wins. */
  async save(source: string, jwks: string, fetchedAt: number): Promise<void> {
    await this.#store.transaction((trx) =>
      trx
        .insertInto('issuer_keys')
        .values({ source, jwks, fetched_at: fetchedAt })
        .onConflict((conflict) =>
          conflict
            .column('source')
            .doUpdateSet({ jwks, fetched_at: fetchedAt })
            .where('issuer_keys.fetched_at', '<=', fetchedAt),
        )
        .execute(),
    );
  }

  async forget(source: string): Promise<void> {
    await this.#store.transaction((trx) => trx.deleteFrom('issuer_keys').where('source', '=', source).execute());
  }
}
