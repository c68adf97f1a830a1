import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/base/errors.ts';
import { GroupCommit } from '../../../src/control/store/group.ts';

describe('A group commit', () => {
  it('joins what arrives during a commit into the next one, in order', async () => {
    const groups: (readonly number[])[] = [];
    const group = new GroupCommit<number>(async (items) => {
      groups.push(items);
      await new Promise((resolve) => setImmediate(resolve));
    });
    await Promise.all([1, 2, 3, 4].map((item) => group.add(item)));
    await group.add(5);
    expect(groups).toEqual([[1], [2, 3, 4], [5]]);
  });

  it('holds at most 200 items', async () => {
    const sizes: number[] = [];
    const group = new GroupCommit<number>(async (items) => void sizes.push(items.length));
    await Promise.all(Array.from({ length: 500 }, (_, i) => group.add(i)));
    expect(sizes).toEqual([1, 200, 200, 99]);
  });

  it('fails only the items that fail by themselves', async () => {
    const committed: number[] = [];
    const group = new GroupCommit<number>(async (items) => {
      if (items.includes(3)) throw new Error('three');
      committed.push(...items);
    });
    const results = await Promise.allSettled([1, 2, 3, 4].map((item) => group.add(item)));
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    expect(results[2]).toMatchObject({ reason: new Error('three') });
    expect(committed).toEqual([1, 2, 4]);
    await group.add(5);
    expect(committed).toEqual([1, 2, 4, 5]);
  });

  it('is not taken apart while the database is away', async () => {
    const sizes: number[] = [];
    const away = new AppError('unavailable', 'The database cannot be reached.');
    const group = new GroupCommit<number>(async (items) => {
      sizes.push(items.length);
      throw away;
    });
    const results = await Promise.allSettled([1, 2, 3, 4].map((item) => group.add(item)));
    expect(results).toEqual(Array.from({ length: 4 }, () => ({ status: 'rejected', reason: away })));
    expect(sizes).toEqual([1, 3]);
  });
});
