import type { Kysely, Transaction } from 'kysely';
import { sql } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import { isDuplicate, isDuplicateTable } from './failures.ts';
import type { Migration } from './migration.ts';
import { columnsOf } from './migration.ts';
import type { Wait } from './retry.ts';
import { retryConflicts } from './retry.ts';
import type { Store } from './store.ts';
import type { Tables } from './tables.ts';

export interface SchemaContext {
  readonly db: Kysely<Tables>;
  readonly kind: Store['kind'];
  readonly clock: Clock;
  readonly wait: Wait;
  readonly migrations: readonly Migration[];
}

/**
 * Makes a brand-new, empty database ours; checks any other. Throws `incompatible-data` when the schema is older (then
 * `writ migrate` mends it: a server never does it on the side, since older servers may still be running), newer or foreign.
 */
export async function prepareSchema(context: SchemaContext): Promise<void> {
  const applied = await initialise(context);
  const pending = pendingOf(applied, context.migrations);
  if (pending.length > 0) {
    throw new AppError(
      'incompatible-data',
      `The database schema is at version ${applied.length}; this version of Writ needs version ` +
        `${context.migrations.length}. Stop all servers, make a backup, and run: writ migrate`,
    );
  }
}

/** Brings an older schema up to date, each step in a transaction of its own. Safe beside another process doing the same. */
export async function migrateSchema(context: SchemaContext): Promise<{ readonly from: number; readonly to: number }> {
  const before = await readApplied(context);
  let applied = before === 'empty' ? await initialise(context) : before;
  while (pendingOf(applied, context.migrations).length > 0) {
    await applyNext(context);
    applied = await initialise(context);
  }
  return { from: before === 'empty' ? 0 : before.length, to: applied.length };
}

/** Creates the whole schema in one transaction if there is nothing yet; returns the names of the steps that are there. */
async function initialise(context: SchemaContext): Promise<readonly string[]> {
  for (;;) {
    const applied = await readApplied(context);
    if (applied !== 'empty') return applied;
    try {
      await inTransaction(context, async (trx) => {
        // Read again: on SQLite another process may have been first, and we now hold the lock.
        if ((await readTables(trx, context.kind)).length > 0) return;
        await createMigrationsTable(trx, context);
        for (const [index, migration] of context.migrations.entries()) await apply(trx, context, index + 1, migration);
      });
    } catch (error) {
      // On PostgreSQL another process was first.
      if (!isDuplicateTable(error)) throw error;
    }
  }
}

async function applyNext(context: SchemaContext): Promise<void> {
  try {
    await inTransaction(context, async (trx) => {
      const applied = await readNames(trx);
      const next = pendingOf(applied, context.migrations)[0];
      if (next !== undefined) await apply(trx, context, applied.length + 1, next);
    });
  } catch (error) {
    if (!isDuplicate(error)) throw error;
  }
}

async function apply(
  trx: Transaction<Tables>,
  context: SchemaContext,
  position: number,
  migration: Migration,
): Promise<void> {
  // First the record: a second process that does the same step waits here, and fails once this one has committed.
  await trx
    .insertInto('schema_migrations')
    .values({ position, name: migration.name, applied_at: context.clock.now() })
    .execute();
  for (const statement of migration.statements(columnsOf(context.kind))) await sql.raw(statement).execute(trx);
}

async function createMigrationsTable(trx: Transaction<Tables>, context: SchemaContext): Promise<void> {
  const t = columnsOf(context.kind);
  await sql
    .raw(`create table schema_migrations (
      position integer primary key,
      name ${t.text} not null unique,
      applied_at ${t.bigint} not null
    )${t.strict}`)
    .execute(trx);
}

/** The steps that are missing. Throws when the database has one that we do not know. */
function pendingOf(applied: readonly string[], known: readonly Migration[]): readonly Migration[] {
  const strange = applied.findIndex((name, index) => known[index]?.name !== name);
  if (strange !== -1) {
    throw new AppError(
      'incompatible-data',
      `The database schema has the step "${applied[strange]}" as version ${strange + 1}, which this version of Writ ` +
        `(schema version ${known.length}) does not know: a newer version of Writ wrote it. ` +
        'Run that version, or restore a backup that is older.',
    );
  }
  return known.slice(applied.length);
}

/** 'empty' for a database without any table. */
async function readApplied(context: SchemaContext): Promise<readonly string[] | 'empty'> {
  const tables = await readTables(context.db, context.kind);
  if (tables.length === 0) return 'empty';
  if (!tables.includes('schema_migrations')) {
    throw new AppError(
      'incompatible-data',
      `The database is not Writ's: it has tables (such as "${tables[0]}") but no schema_migrations. ` +
        'Give Writ a database or schema of its own.',
    );
  }
  return await readNames(context.db);
}

async function readNames(db: Kysely<Tables>): Promise<readonly string[]> {
  const rows = await db.selectFrom('schema_migrations').select('name').orderBy('position').execute();
  return rows.map((row) => row.name);
}

async function readTables(db: Kysely<Tables>, kind: Store['kind']): Promise<readonly string[]> {
  const query =
    kind === 'sqlite'
      ? sql<{
          name: string;
        }>`select name from sqlite_master where type = 'table' and name not like 'sqlite~_%' escape '~'
          order by name`
      : sql<{ name: string }>`select table_name as name from information_schema.tables
          where table_schema = current_schema() order by table_name`;
  return (await query.execute(db)).rows.map((row) => row.name);
}

function inTransaction(context: SchemaContext, work: (trx: Transaction<Tables>) => Promise<void>): Promise<void> {
  return retryConflicts(() => context.db.transaction().setIsolationLevel('serializable').execute(work), context.wait);
}
