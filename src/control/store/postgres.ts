import type { PostgresPool, PostgresPoolClient } from 'kysely';
import { PostgresDialect } from 'kysely';
import type { CustomTypesConfig } from 'pg';
import pg from 'pg';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { isAway, isImpossibleText } from './failures.ts';

const CONNECT_TIMEOUT_MS = 5_000;
/** A statement that takes longer is ended by the server, so that a stuck one does not hold its connection for ever. */
const STATEMENT_TIMEOUT_MS = 30_000;
/** A control plane that died amid a transaction must not hold its locks for ever. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000;
const MAX_CONNECTIONS = 10;
const INT8 = 20;

/** Kysely over PostgreSQL, and over whatever else speaks its protocol. */
export function postgresDialect(url: string, logger: Logger): PostgresDialect {
  const pool = new pg.Pool({
    ...connectionOptions(url),
    max: MAX_CONNECTIONS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
  });
  // The pool opens another when it needs one.
  pool.on('error', (error) => logger.warn({ err: error }, 'lost an idle database connection'));
  // One that breaks in use tells whoever uses it; its event says the same, and without a listener ends the process.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return new PostgresDialect({ pool: withAwayErrors(pool) });
}

/** For the pool and for the connection that listens. */
export function connectionOptions(url: string): pg.ClientConfig {
  return {
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: 'writ',
    keepAlive: true,
    types,
  };
}

const types: CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (oid === INT8 && format !== 'binary') return parseInt8;
    return pg.types.getTypeParser(oid, format as 'text');
  },
};

/** bigint as a number: every one that we store is below 2^53, and one that is not must not be rounded. */
function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) {
    throw new AppError('incompatible-data', 'The database holds an integer beyond 2^53 that no version of Writ wrote.');
  }
  return value;
}

/** Says `unavailable` when the database cannot be reached; why stays in the cause, since it may name hosts and users. */
function withAwayErrors(pool: pg.Pool): PostgresPool {
  const wrapped = new WeakMap<pg.PoolClient, PostgresPoolClient>();
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect().catch(rethrow);
      // Kysely recognises connections by identity.
      const wrapper = wrapped.get(client) ?? wrap(client);
      wrapped.set(client, wrapper);
      return wrapper;
    },
  };
}

function wrap(client: pg.PoolClient): PostgresPoolClient {
  // Kysely asks for cursors only where it was given a cursor class.
  const query: unknown = (text: string, parameters: readonly unknown[]) =>
    client.query(text, [...parameters]).catch(rethrow);
  return {
    query: query as PostgresPoolClient['query'],
    release: (destroy) => client.release(destroy),
  };
}

function rethrow(error: unknown): never {
  if (isAway(error)) throw away(error);
  if (isImpossibleText(error)) throw new AppError('invalid', 'Text must not hold the character U+0000.');
  throw error;
}

function away(cause: unknown): AppError {
  return new AppError('unavailable', 'The database cannot be reached. The server log says why.', { cause });
}
