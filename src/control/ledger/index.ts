import { setImmediate } from 'node:timers/promises';
import type { Transaction } from 'kysely';
import { Backoff } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { isAbort } from '../../base/tasks.ts';
import type { AuditRecord } from '../../core/audit/event.ts';
import type { AuditQuery } from '../../core/audit/query.ts';
import type { AuditTables } from '../store/audit-tables.ts';
import type { Page } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import type { IndexRows } from './index-batch.ts';
import { addRows, noRows } from './index-batch.ts';
import type { Ledger } from './ledger.ts';
import { findCalls, findRecord, searchRecords } from './search.ts';
import type { TailItem } from './tail.ts';
import { Tail } from './tail.ts';

export interface AuditIndexOptions {
  readonly store: Store;
  readonly ledger: Pick<Ledger, 'read' | 'size'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Rows that share a transaction, at most by about one batch more. */
const ROWS_PER_TRANSACTION = 4096;
/** Rows that share a statement: SQLite takes 32,766 values in one. */
const ROWS_PER_STATEMENT = 200;
const CALLS_PER_STATEMENT = 500;

/**
 * The searchable view of the ledger: a follower. Rows and the position in the ledger change in one transaction, so that it
 * has every event once however it ends. It can be thrown away at any time, and is then built again from the ledger.
 */
export class AuditIndex {
  readonly #options: AuditIndexOptions;
  readonly #tail = new Tail();
  #next: number;
  /** Whether `#next` is what the database has: not after a failure, which may have come behind the commit. */
  #isCertain = true;

  private constructor(options: AuditIndexOptions, next: number) {
    this.#options = options;
    this.#next = next;
  }

  static async open(options: AuditIndexOptions): Promise<AuditIndex> {
    const { store, ledger, logger } = options;
    const next = await readCursor(store);
    if (next <= ledger.size.current) return new AuditIndex(options, next);
    logger.error({ indexed: next, ledger: ledger.size.current }, 'the index is ahead of the ledger; it is built again');
    await store.transaction(clear);
    return new AuditIndex(options, 0);
  }

  /** Number of the batch that is indexed next: equal to the ledger's size when everything is indexed. */
  get position(): number {
    return this.#next;
  }

  /** Follows the ledger until `signal` aborts. What fails is logged and tried again, with growing delays. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, ledger, logger } = this.#options;
    const backoff = new Backoff();
    while (!signal.aborted) {
      try {
        const { version } = ledger.size;
        await this.#catchUp(signal);
        backoff.reset();
        await ledger.size.next(version, signal);
      } catch (error) {
        if (isAbort(error, signal)) return;
        this.#isCertain = false;
        logger.error({ err: error, leaf: this.#next }, 'the audit index cannot follow the ledger');
        await sleep(clock, backoff.nextMs(), signal);
      }
    }
  }

  /** Newest first. Throws `invalid` for a limit out of range and for a cursor of another search. */
  search(query: AuditQuery): Promise<Page<AuditRecord>> {
    return searchRecords(this.#options.store.db, this.#options.store.cursors, query);
  }

  /** Throws `not-found`. */
  get(id: string): Promise<AuditRecord> {
    return findRecord(this.#options.store.db, id);
  }

  /**
   * Live: every matching record that is indexed from now on, and again when its call is completed (once, when both arrive
   * together). A slow consumer loses the oldest records and is told how many. Ends when `signal` aborts.
   */
  tail(query: AuditQuery, signal: AbortSignal): AsyncIterable<TailItem> {
    return this.#tail.follow(query, signal);
  }

  async #catchUp(signal: AbortSignal): Promise<void> {
    if (!this.#isCertain) this.#next = await readCursor(this.#options.store);
    this.#isCertain = true;
    while (!signal.aborted && this.#next < this.#options.ledger.size.current) {
      const rows = noRows();
      let to = this.#next;
      for await (const batch of this.#options.ledger.read(this.#next)) {
        addRows(rows, batch);
        to = batch.leaf + 1;
        if (rows.records.length + rows.completions.length >= ROWS_PER_TRANSACTION) break;
      }
      if (to === this.#next) return;
      await this.#store(rows, to);
      for (const { sidecar, epoch, seq, kind, detail } of rows.notes) {
        this.#options.logger.warn({ sidecar, epoch, seq, kind, detail }, 'a hole in the record of a sidecar');
      }
      if (this.#tail.isWatched) this.#tail.publish(await this.#touched(rows));
    }
  }

  async #store(rows: IndexRows, to: number): Promise<void> {
    const { store } = this.#options;
    const from = this.#next;
    await store.transaction(async (trx) => {
      const moved = await trx
        .updateTable('audit_cursor')
        .set({ leaf: to })
        .where('id', '=', 1)
        .where('leaf', '=', from)
        .executeTakeFirst();
      if (moved.numUpdatedRows !== 1n) throw new AppError('conflict', 'Somebody else is writing the audit index.');
      await insertRows(trx, rows);
    });
    this.#next = to;
  }

  /** The records that the rows concern, as they are now. */
  async #touched(rows: IndexRows): Promise<readonly AuditRecord[]> {
    const bySidecar = new Map<string, Set<string>>();
    for (const { sidecar, call } of [...rows.records, ...rows.completions]) {
      const calls = bySidecar.get(sidecar) ?? new Set<string>();
      bySidecar.set(sidecar, calls.add(call));
    }
    const found: AuditRecord[] = [];
    for (const [sidecar, calls] of bySidecar) {
      for (const some of chunks([...calls], CALLS_PER_STATEMENT)) {
        found.push(...(await findCalls(this.#options.store.db, sidecar, some)));
      }
    }
    return found;
  }
}

/** Duplicates are left out: the first record of a call stays. */
async function insertRows(trx: Transaction<AuditTables>, rows: IndexRows): Promise<void> {
  for (const some of chunks(rows.records, ROWS_PER_STATEMENT)) {
    await trx
      .insertInto('audit_records')
      .values(some)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    // SQLite works on this thread: others get their turn between statements.
    await setImmediate();
  }
  for (const some of chunks(rows.completions, ROWS_PER_STATEMENT)) {
    await trx
      .insertInto('audit_completions')
      .values(some)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await setImmediate();
  }
  for (const some of chunks(rows.notes, ROWS_PER_STATEMENT)) {
    await trx
      .insertInto('audit_notes')
      .values(some)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await setImmediate();
  }
}

async function readCursor(store: Store): Promise<number> {
  const row = await store.db.selectFrom('audit_cursor').select('leaf').where('id', '=', 1).executeTakeFirst();
  if (row === undefined)
    throw new AppError('incompatible-data', 'The audit index has lost its position: restore the database.');
  return row.leaf;
}

async function clear(trx: Transaction<AuditTables>): Promise<void> {
  await trx.deleteFrom('audit_records').execute();
  await trx.deleteFrom('audit_completions').execute();
  await trx.deleteFrom('audit_notes').execute();
  await trx.updateTable('audit_cursor').set({ leaf: 0 }).where('id', '=', 1).execute();
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  const result: T[][] = [];
  for (let i = 0; i < items.length; i += size) result.push(items.slice(i, i + size));
  return result;
}
