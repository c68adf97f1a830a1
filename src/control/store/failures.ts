/** SQLSTATE of what PostgreSQL-wire databases report when a transaction lost against another: it can be tried again. */
const CONFLICTS: ReadonlySet<string> = new Set([
  // serialization_failure
  '40001',
  // deadlock_detected
  '40P01',
]);

/** SQLite primary result codes: another process holds the lock. */
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;

/** SQLSTATE classes and codes that say that the database is away, full or going down. */
const AWAY: readonly RegExp[] = [/^08/, /^53/, /^57P0[1-4]$/];
const AWAY_SYSTEM_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
]);

const awayMessage = /^connection terminated|not queryable|timeout exceeded when trying to connect|^timeout expired/i;

/** Whether a transaction failed only because of another one, so that trying it again can help. */
export function isConflict(error: unknown): boolean {
  const primary = sqliteCode(error);
  if (primary !== undefined) return primary === SQLITE_BUSY || primary === SQLITE_LOCKED;
  return CONFLICTS.has(codeOf(error) ?? '');
}

/** Whether the database could not be reached, as opposed to having refused the statement. */
export function isAway(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined) return AWAY_SYSTEM_CODES.has(code) || AWAY.some((pattern) => pattern.test(code));
  // pg has no code for these.
  return error instanceof Error && awayMessage.test(error.message);
}

/** A row with this key exists already (SQLSTATE 23505, SQLITE_CONSTRAINT_UNIQUE or _PRIMARYKEY). */
export function isDuplicate(error: unknown): boolean {
  const extended = extendedSqliteCode(error);
  if (extended !== undefined) return extended === 2067 || extended === 1555;
  return codeOf(error) === '23505';
}

/** A table exists already (SQLSTATE 42P07; 23505 when two transactions create it at once). */
export function isDuplicateTable(error: unknown): boolean {
  return codeOf(error) === '42P07' || isDuplicate(error);
}

/** PostgreSQL cannot hold U+0000 (SQLSTATE 22021); it only ever comes from a caller. */
export function isImpossibleText(error: unknown): boolean {
  return codeOf(error) === '22021';
}

/** SQLITE_CORRUPT or SQLITE_NOTADB: the file is something else, or is damaged. */
export function isNotADatabase(error: unknown): boolean {
  const primary = sqliteCode(error);
  return primary === 11 || primary === 26;
}

function sqliteCode(error: unknown): number | undefined {
  const extended = extendedSqliteCode(error);
  return extended === undefined ? undefined : extended & 0xff;
}

function extendedSqliteCode(error: unknown): number | undefined {
  if (codeOf(error) !== 'ERR_SQLITE_ERROR') return undefined;
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number' ? error.errcode : undefined;
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
