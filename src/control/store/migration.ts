import type { Store } from './store.ts';

/** What the databases spell differently. */
export interface Columns {
  /** 64-bit integer. */
  readonly bigint: 'integer' | 'bigint';
  /** Byte string. */
  readonly bytes: 'blob' | 'bytea';
  /** Text that sorts and compares by its bytes, on every database alike: range queries and cursors depend on it. */
  readonly text: 'text' | 'text collate "C"';
  /** Goes behind the closing parenthesis of `create table`: SQLite then checks the types of values. */
  readonly strict: '' | ' strict';
}

/**
 * One step of the schema. Steps are only ever appended: what is released is never edited, since databases remember by name
 * which steps they have had.
 *
 * Portable subset, so that CockroachDB works too: no SERIAL, no advisory locks, no triggers; identifiers are text,
 * times are milliseconds in `bigint`, booleans are integers, JSON is text.
 */
export interface Migration {
  /** `NNNN-noun`, ascending. */
  readonly name: string;
  /** SQL statements, run in order in one transaction. */
  statements(columns: Columns): readonly string[];
}

const columns: Readonly<Record<Store['kind'], Columns>> = {
  sqlite: { bigint: 'integer', bytes: 'blob', text: 'text', strict: ' strict' },
  postgres: { bigint: 'bigint', bytes: 'bytea', text: 'text collate "C"', strict: '' },
};

export function columnsOf(kind: Store['kind']): Columns {
  return columns[kind];
}
