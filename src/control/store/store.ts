import type { Transaction } from 'kysely';
import { Kysely } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import { RevisionFeed } from './feed.ts';
import { PostgresListener } from './listener.ts';
import type { Migration } from './migration.ts';
import { migrations } from './migrations.ts';
import { migrateSchema, prepareSchema } from './migrator.ts';
import { Cursors } from './page.ts';
import { postgresDialect } from './postgres.ts';
import type { Wait } from './retry.ts';
import { realWait, retryConflicts } from './retry.ts';
import { sqliteDialect } from './sqlite.ts';
import type { Tables } from './tables.ts';

export type StoreOptions =
  /** `path` is a file in an existing directory, or `:memory:`. */
  | { readonly kind: 'sqlite'; readonly path: string }
  /** `url` as libpq takes it: `postgres://user@host:port/database`. It may hold a password: never log it. */
  | { readonly kind: 'postgres'; readonly url: string };

export interface StoreDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
  /** How to wait between tries of a transaction. Default: real time, whatever the clock is. */
  readonly wait?: Wait;
  /** Default: all. Tests give other lists. */
  readonly migrations?: readonly Migration[];
}

/** The state of the control plane: one database, any number of replicas on PostgreSQL, one process on SQLite. */
export interface Store {
  readonly kind: StoreOptions['kind'];
  /**
   * For single reads. Writes go through `transaction`.
   *
   * Never use it inside `transaction`: SQLite has one connection, which the transaction holds, so it would wait for ever.
   */
  readonly db: Kysely<Tables>;
  /** Cursors of listings; every replica takes those of the others. */
  readonly cursors: Cursors;
  /**
   * Runs `fn` in one serializable transaction, durable when this resolves. `fn` may run several times (it is run again when
   * it lost against another transaction), so it must change nothing but the database. Throws `unavailable` when the
   * database is away or when conflicts last for seconds; whatever `fn` throws is thrown on, and nothing is stored.
   */
  transaction<T>(fn: (trx: Transaction<Tables>) => Promise<T>): Promise<T>;
  /** Takes the next revision for a change in `trx`. Revisions become visible in order, without one overtaking another. */
  nextRevision(trx: Transaction<Tables>): Promise<number>;
  /** The latest committed revision: our own at once, those of other replicas within a second. */
  readonly revision: Watch<number>;
  /** Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens the database, creating the schema in a brand-new one. Throws `incompatible-data`, with what to run, on a schema
 * that is not exactly this version's, and `unavailable` when the database cannot be reached.
 */
export async function openStore(options: StoreOptions, deps: StoreDeps): Promise<Store> {
  const db = connect(options, deps);
  try {
    await prepareSchema(schemaContext(db, options, deps));
    const cursors = new Cursors(await loadCursorKey(db, deps), deps.clock);
    const feed = await startFeed(db, options, deps);
    return new SqlStore({ kind: options.kind, db, cursors, feed, wait: deps.wait ?? realWait });
  } catch (error) {
    await db.destroy();
    throw error;
  }
}

/** Brings the schema up to this version: what `writ migrate` does. Servers must be stopped meanwhile. */
export async function migrate(
  options: StoreOptions,
  deps: StoreDeps,
): Promise<{ readonly from: number; readonly to: number }> {
  const db = connect(options, deps);
  try {
    return await migrateSchema(schemaContext(db, options, deps));
  } finally {
    await db.destroy();
  }
}

interface SqlStoreParts {
  readonly kind: StoreOptions['kind'];
  readonly db: Kysely<Tables>;
  readonly cursors: Cursors;
  readonly feed: RevisionFeed;
  readonly wait: Wait;
}

class SqlStore implements Store {
  readonly kind: StoreOptions['kind'];
  readonly db: Kysely<Tables>;
  readonly cursors: Cursors;
  readonly #feed: RevisionFeed;
  readonly #wait: Wait;
  /** The last revision that each open transaction has taken. */
  readonly #taken = new WeakMap<Transaction<Tables>, number>();
  #closing: Promise<void> | undefined;

  constructor(parts: SqlStoreParts) {
    this.kind = parts.kind;
    this.db = parts.db;
    this.cursors = parts.cursors;
    this.#feed = parts.feed;
    this.#wait = parts.wait;
  }

  get revision(): Watch<number> {
    return this.#feed.revision;
  }

  transaction<T>(fn: (trx: Transaction<Tables>) => Promise<T>): Promise<T> {
    return retryConflicts(() => this.#attempt(fn), this.#wait);
  }

  async nextRevision(trx: Transaction<Tables>): Promise<number> {
    // The row stays locked until the commit: that is what keeps revisions in the order of commits.
    const { head } = await trx
      .updateTable('feed')
      .set((eb) => ({ head: eb('head', '+', 1) }))
      .where('id', '=', 1)
      .returning('head')
      .executeTakeFirstOrThrow();
    this.#taken.set(trx, head);
    return head;
  }

  close(): Promise<void> {
    this.#closing ??= this.#feed.close().then(() => this.db.destroy());
    return this.#closing;
  }

  async #attempt<T>(fn: (trx: Transaction<Tables>) => Promise<T>): Promise<T> {
    let revision: number | undefined;
    const result = await this.db
      .transaction()
      .setIsolationLevel('serializable')
      .execute(async (trx) => {
        const value = await fn(trx);
        revision = this.#taken.get(trx);
        return value;
      });
    if (revision !== undefined) this.#feed.committed(revision);
    return result;
  }
}

function connect(options: StoreOptions, deps: StoreDeps): Kysely<Tables> {
  const dialect = options.kind === 'sqlite' ? sqliteDialect(options.path) : postgresDialect(options.url, deps.logger);
  return new Kysely<Tables>({ dialect });
}

function schemaContext(db: Kysely<Tables>, options: StoreOptions, deps: StoreDeps) {
  return {
    db,
    kind: options.kind,
    clock: deps.clock,
    wait: deps.wait ?? realWait,
    migrations: deps.migrations ?? migrations,
  };
}

function startFeed(db: Kysely<Tables>, options: StoreOptions, deps: StoreDeps): Promise<RevisionFeed> {
  const { clock, logger } = deps;
  if (options.kind === 'sqlite') return RevisionFeed.start({ db, clock, logger });
  const { url } = options;
  return RevisionFeed.start({
    db,
    clock,
    logger,
    notifier: (onChange) => new PostgresListener({ url, clock, logger, onChange }),
  });
}

/** One key per database, drawn by whoever opens it first. */
async function loadCursorKey(db: Kysely<Tables>, deps: StoreDeps): Promise<Buffer> {
  const key = 'cursor-key';
  const value = (deps.random ?? secureRandom)(32).toString('base64');
  const draw = db
    .insertInto('meta')
    .values({ key, value })
    .onConflict((conflict) => conflict.column('key').doNothing());
  await retryConflicts(() => draw.execute(), deps.wait ?? realWait);
  const row = await db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst();
  const bytes = Buffer.from(row?.value ?? '', 'base64');
  if (bytes.length !== 32) throw new AppError('incompatible-data', 'The cursor key in the database is damaged.');
  return bytes;
}
