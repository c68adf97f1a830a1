import type { Store } from '../../store/store.ts';

/**
 * The last checkpoint that was signed for a log: the one thing that decides which of several sequencers may go on, and from
 * where. A checkpoint that is here may have been seen by anybody, so the log must contain it for ever.
 *
 * It must never be brought back to an earlier state, as by restoring a backup: what was signed in between would be signed
 * again, otherwise. The files of the log hold the same checkpoint a moment later; whichever of the two is restored alone
 * contradicts the other, and the log is not opened.
 */
export interface CheckpointLock {
  /** The signed note; `undefined` when there is no such log. */
  read(): Promise<Buffer | undefined>;
  /**
   * Puts `next` in the place of `before`, which is `undefined` for a new log. Resolves when it is durable; false when it was
   * not `before` that was there, and then nothing has changed.
   *
   * @throws AppError `unavailable`: it may have happened or not
   */
  swap(before: Buffer | undefined, next: Buffer): Promise<boolean>;
}

/** In the database: one row for each log, swapped in a serializable transaction by whoever has the log. */
export class SqlCheckpointLock implements CheckpointLock {
  readonly #store: Pick<Store, 'transaction'>;
  readonly #origin: string;

  constructor(store: Pick<Store, 'transaction'>, origin: string) {
    this.#store = store;
    this.#origin = origin;
  }

  read(): Promise<Buffer | undefined> {
    return this.#store.transaction(async (trx) => {
      const row = await trx
        .selectFrom('audit_log_locks')
        .select('checkpoint')
        .where('origin', '=', this.#origin)
        .executeTakeFirst();
      return row === undefined ? undefined : Buffer.from(row.checkpoint, 'utf8');
    });
  }

  swap(before: Buffer | undefined, next: Buffer): Promise<boolean> {
    const checkpoint = next.toString('utf8');
    return this.#store.transaction(async (trx) => {
      if (before === undefined) {
        const { numInsertedOrUpdatedRows } = await trx
          .insertInto('audit_log_locks')
          .values({ origin: this.#origin, checkpoint })
          .onConflict((conflict) => conflict.doNothing())
          .executeTakeFirst();
        return numInsertedOrUpdatedRows === 1n;
      }
      const { numUpdatedRows } = await trx
        .updateTable('audit_log_locks')
        .set({ checkpoint })
        .where('origin', '=', this.#origin)
        .where('checkpoint', '=', before.toString('utf8'))
        .executeTakeFirst();
      return numUpdatedRows === 1n;
    });
  }
}

/** In this process: for tests. */
export class MemoryCheckpointLock implements CheckpointLock {
  current: Buffer | undefined;

  read(): Promise<Buffer | undefined> {
    return Promise.resolve(this.current);
  }

  async swap(before: Buffer | undefined, next: Buffer): Promise<boolean> {
    const isExpected = before === undefined ? this.current === undefined : this.current?.equals(before) === true;
    if (isExpected) this.current = next;
    return isExpected;
  }
}
