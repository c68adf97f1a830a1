import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Cursors } from '../../../src/control/store/page.ts';
import { scanPage } from '../../../src/control/store/scan.ts';
import { FakeClock } from '../../support/clock.ts';

const cursors = new Cursors(Buffer.alloc(32, 1), new FakeClock());

/** Rows are the numbers below `size`. */
function reading(size: number) {
  const table = { reads: 0, rows: 0 };
  const read = async (after: readonly (string | number)[] | undefined, count: number) => {
    const start = after === undefined ? 0 : Number(after[0]) + 1;
    const rows = Array.from({ length: Math.max(0, Math.min(count, size - start)) }, (_, index) => start + index);
    table.reads += 1;
    table.rows += rows.length;
    return rows;
  };
  return { table, read };
}

async function readAll(size: number, limit: number, matches?: (row: number) => boolean) {
  const { table, read } = reading(size);
  const pages: (readonly number[])[] = [];
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<typeof scanPage<number>>> = await scanPage<number>({
      ...{ cursors, scope: 'numbers', limit, cursor, read, matches },
      keysOf: (row) => [row],
    });
    pages.push(page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return { pages, table };
}

describe('a page that is scanned', () => {
  it('holds each matching row once, in order, and as many as the limit while there are more', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 1600 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 97 }),
        async (size, limit, step) => {
          const matches = (row: number) => row % step === 0;
          const { pages } = await readAll(size, limit, matches);
          expect(pages.flat()).toEqual(Array.from({ length: Math.ceil(size / step) }, (_, index) => index * step));
          for (const page of pages.slice(0, -1)) expect(page).toHaveLength(limit);
          if (pages.length > 1) expect(pages.at(-1)).not.toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('reads one row more than its limit when all match', async () => {
    const { table, pages } = await readAll(3, 2);
    expect(pages).toEqual([[0, 1], [2]]);
    expect(table).toEqual({ reads: 2, rows: 4 });
  });

  it('ends early, with a cursor, rather than read a whole table', async () => {
    const { pages, table } = await readAll(50_000, 5, (row) => row === 49_999);
    expect(pages).toEqual([[], [], [49_999]]);
    expect(table.rows).toBe(50_000);
  });
});
