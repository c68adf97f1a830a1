import type { RawBuilder } from 'kysely';
import { sql } from 'kysely';
import { textFilter } from '../../core/audit/query.ts';
import { INDEXED_UNITS, indexedStart, storable } from './rows.ts';

/**
 * `wanted` (exact, or with a trailing * a prefix) against a long text, of which the database has indexed the start.
 *
 * A prefix is a range of the index, compared by code points: no LIKE, whose wildcards and case rules differ between
 * databases and would have to be escaped.
 *
 * @param column its name, and that of its start: never from a caller
 */
export function onText(column: string, startColumn: string, wanted: string): RawBuilder<boolean> {
  const { kind, value } = textFilter(wanted);
  const text = storable(value);
  const start = indexedStart(text);
  const [whole, indexed] = [sql.ref(column), sql.ref(startColumn)];
  if (kind === 'exact') return sql`(${indexed} = ${start} and ${whole} = ${text})`;
  const after = successor(start);
  const range =
    after === undefined ? sql`${indexed} >= ${start}` : sql`${indexed} >= ${start} and ${indexed} < ${after}`;
  if (text.length <= INDEXED_UNITS) return sql`(${range})`;
  return sql`(${range} and substr(${whole}, 1, ${sql.lit([...text].length)}) = ${text})`;
}

/** The first text behind all that begin with `prefix`; `undefined` when there is none. */
function successor(prefix: string): string | undefined {
  const points = [...prefix];
  for (;;) {
    const last = points.pop()?.codePointAt(0);
    if (last === undefined) return undefined;
    if (last < 0x10_ffff) return points.join('') + String.fromCodePoint(last === 0xd7ff ? 0xe000 : last + 1);
  }
}
