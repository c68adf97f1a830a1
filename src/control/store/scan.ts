import type { CursorKey, Cursors, Page } from './page.ts';

/** Rows read at a time while looking for matches. */
const BATCH_ROWS = 500;
/** Rows that one page may pass over: beyond that it ends early, with a cursor, so that no request reads a whole table. */
const MAX_ROWS = 20_000;

export interface Scan<Row> {
  readonly cursors: Cursors;
  /** Names the listing and all of its filters. */
  readonly scope: string;
  /** Most matching rows on the page. */
  readonly limit: number;
  /** From the page before. */
  readonly cursor: string | null | undefined;
  /** The next `count` rows in key order behind the key. */
  read(after: readonly CursorKey[] | undefined, count: number): Promise<readonly Row[]>;
  keysOf(row: Row): readonly CursorKey[];
  /** For what the database cannot filter. Absent: every row matches. */
  readonly matches?: ((row: Row) => boolean) | undefined;
}

/**
 * A page of the rows that match, of which the limit counts only those. It may hold fewer although others follow (then
 * `nextCursor` says so), never one that does not match, and never the same one as another page.
 */
export async function scanPage<Row>(scan: Scan<Row>): Promise<Page<Row>> {
  const { cursors, scope, limit, matches, keysOf } = scan;
  const seal = (row: Row | undefined) => (row === undefined ? null : cursors.seal(scope, keysOf(row)));
  const count = matches === undefined ? limit + 1 : BATCH_ROWS;
  const items: Row[] = [];
  let after = cursors.open(scope, scan.cursor);
  for (let passed = 0; ; ) {
    const rows = await scan.read(after, count);
    for (const row of rows) {
      if (matches !== undefined && !matches(row)) continue;
      if (items.length === limit) return { items, nextCursor: seal(items.at(-1)) };
      items.push(row);
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < count) return { items, nextCursor: null };
    passed += rows.length;
    if (passed >= MAX_ROWS) return { items, nextCursor: seal(last) };
    after = keysOf(last);
  }
}
