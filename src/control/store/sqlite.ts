import { closeSync, openSync } from 'node:fs';
import type { StatementSync } from 'node:sqlite';
import { DatabaseSync } from 'node:sqlite';
import type { SqliteDatabase, SqliteStatement } from 'kysely';
import { SqliteDialect } from 'kysely';
import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import { isNotADatabase } from './failures.ts';

/**
 * How long a statement waits inside SQLite for another process's lock, in milliseconds. Short, since the whole process
 * waits with it; transactions are tried again by the store.
 */
const BUSY_TIMEOUT_MS = 5;
/** Opening is not tried again, and another process may be doing the same. */
const OPEN_TIMEOUT_MS = 5_000;
const MAX_CACHED_STATEMENTS = 200;

/**
 * Kysely over Node's own SQLite. Kysely gives the one connection to one transaction or statement at a time.
 *
 * @throws AppError `unavailable` when the file cannot be opened, `incompatible-data` when it is no database
 */
export function sqliteDialect(path: string): SqliteDialect {
  return new SqliteDialect({ database: adapt(openDatabase(path)) });
}

function openDatabase(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    if (path !== ':memory:') createPrivately(path);
    database = new DatabaseSync(path, { timeout: OPEN_TIMEOUT_MS, enableForeignKeyConstraints: true });
    database.exec('pragma journal_mode = wal');
    // Issued identities and policies must survive a power cut: NORMAL would lose the last commits in WAL mode.
    database.exec('pragma synchronous = full');
    database.exec(`pragma busy_timeout = ${BUSY_TIMEOUT_MS}`);
    return database;
  } catch (cause) {
    database?.close();
    if (isNotADatabase(cause)) {
      throw new AppError('incompatible-data', `${path} is not an SQLite database, or it is damaged.`, { cause });
    }
    throw new AppError(
      'unavailable',
      `Cannot open the database ${path}: ${reason(cause)}. Its directory must exist, and this user must be able to write both.`,
      { cause },
    );
  }
}

/** SQLite gives its other files the mode of this one. */
function createPrivately(path: string): void {
  closeSync(openSync(path, 'a', 0o600));
}

function adapt(database: DatabaseSync): SqliteDatabase {
  const cache = new Map<string, SqliteStatement>();
  return {
    close: () => database.close(),
    prepare(sql) {
      // A transaction that reads first and writes later could not wait for another writer's lock: take it at once.
      const text = sql === 'begin' ? 'begin immediate' : sql;
      const cached = cache.get(text);
      if (cached !== undefined) return cached;
      const statement = adaptStatement(database.prepare(text));
      const oldest = cache.keys().next();
      if (cache.size >= MAX_CACHED_STATEMENTS && oldest.value !== undefined) cache.delete(oldest.value);
      cache.set(text, statement);
      return statement;
    },
  };
}

type SqliteParameter = null | number | bigint | string | NodeJS.ArrayBufferView;

function adaptStatement(statement: StatementSync): SqliteStatement {
  const values = (parameters: readonly unknown[]) => parameters as readonly SqliteParameter[];
  const columns = statement.columns();
  // Tables are strict, so that what is declared as something else holds no bytes; of an expression nothing is declared.
  const mayBeBytes = columns
    .filter(({ type }) => type === null || type.toLowerCase() === 'blob')
    .map(({ name }) => name);
  const read = (row: Record<string, unknown>) => withBuffers(row, mayBeBytes);
  return {
    reader: columns.length > 0,
    all: (parameters) => statement.all(...values(parameters)).map(read),
    run: (parameters) => statement.run(...values(parameters)),
    *iterate(parameters) {
      for (const row of statement.iterate(...values(parameters))) yield read(row);
    },
  };
}

/** Byte strings as Buffers, as PostgreSQL gives them. */
function withBuffers(row: Record<string, unknown>, columns: readonly string[]): Record<string, unknown> {
  for (const column of columns) {
    const value = row[column];
    if (value instanceof Uint8Array) row[column] = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  return row;
}
