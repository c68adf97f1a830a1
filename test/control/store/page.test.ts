import { describe, expect, it } from 'vitest';
import { Cursors, pageLimit } from '../../../src/control/store/page.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';

const clock = new FakeClock();
const cursors = new Cursors(Buffer.alloc(32, 1), clock);
const refusal = /cursor is not one that this listing returned/;

describe('A cursor', () => {
  it('opens to the keys that it was sealed with', () => {
    expect(cursors.open('things', cursors.seal('things', ['ä', 2 ** 53 - 1]))).toEqual(['ä', 2 ** 53 - 1]);
  });

  it('is absent on the first page', () => {
    expect(cursors.open('things', undefined)).toBeUndefined();
    expect(cursors.open('things', null)).toBeUndefined();
  });

  it('is refused after a change of any bit', async () => {
    const bytes = Buffer.from(cursors.seal('things', ['a', 1]), 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      await expectAppError(() => cursors.open('things', changed.toString('base64url')), 'invalid-cursor', refusal);
    }
  });

  it('is refused by another listing and under another key', async () => {
    const cursor = cursors.seal('things', ['a']);
    await expectAppError(() => cursors.open('thing', cursor), 'invalid-cursor', refusal);
    await expectAppError(
      () => new Cursors(Buffer.alloc(32, 2), clock).open('things', cursor),
      'invalid-cursor',
      refusal,
    );
  });

  it('is refused when a part of it is said to belong to the name of the listing', async () => {
    const bytes = Buffer.from(cursors.seal('things', [[1] as unknown as number]), 'base64url');
    // `[[1]]` under 'things' is not `1` under 'things[[', however the two are written one after the other.
    const shifted = Buffer.concat([bytes.subarray(0, 16), bytes.subarray(17)]);
    await expectAppError(() => cursors.open('things[', shifted.toString('base64url')), 'invalid-cursor', refusal);
  });

  it.each(['', 'x', '====', 'a b', `${'A'.repeat(4096)}`])('is refused when it is %j', async (cursor) => {
    await expectAppError(() => cursors.open('things', cursor), 'invalid-cursor', refusal);
  });

  it('has only one spelling', async () => {
    const cursor = cursors.seal('things', ['a', 1]);
    await expectAppError(() => cursors.open('things', `${cursor}=`), 'invalid-cursor', refusal);
    await expectAppError(() => cursors.open('things', ` ${cursor}`), 'invalid-cursor', refusal);
  });
});

describe('The age of a cursor', () => {
  const day = 24 * 60 * 60 * 1000;
  const at = (ms: number) => new Cursors(Buffer.alloc(32, 1), { now: () => ms });

  it('may be 24 hours, and no millisecond more', async () => {
    const cursor = at(1_000).seal('things', ['a']);
    expect(at(1_000 + day).open('things', cursor)).toEqual(['a']);
    await expectAppError(() => at(1_001 + day).open('things', cursor), 'cursor-expired', /older than 24 hours/);
  });

  it('is told only to who holds one of ours: another stays merely invalid', async () => {
    const cursor = at(1_000).seal('others', ['a']);
    await expectAppError(() => at(9_000 + day).open('things', cursor), 'invalid-cursor', refusal);
  });

  it('may be negative: the clock of a replica was ahead', () => {
    expect(at(0).open('things', at(60_000).seal('things', ['a']))).toEqual(['a']);
  });
});

describe('A page', () => {
  it('has a next cursor only when a row more than the limit was found', () => {
    const page = cursors.page('things', ['a', 'b', 'c'], 2, (row) => [row]);
    expect(page.items).toEqual(['a', 'b']);
    expect(cursors.open('things', page.nextCursor)).toEqual(['b']);
    expect(cursors.page('things', ['a', 'b'], 2, (row) => [row])).toEqual({ items: ['a', 'b'], nextCursor: null });
    expect(cursors.page('things', [], 2, () => [])).toEqual({ items: [], nextCursor: null });
  });

  it('holds 50 items unless asked otherwise', () => {
    expect(pageLimit(undefined)).toBe(50);
    expect(pageLimit(500)).toBe(500);
  });

  it.each([0, -1, 501, 1.5, Number.NaN])('cannot hold %d items', async (limit) => {
    await expectAppError(() => pageLimit(limit), 'invalid', 'limit must be a whole number from 1 to 500.');
  });
});
