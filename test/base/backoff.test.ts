import { describe, expect, it } from 'vitest';
import { Backoff } from '../../src/base/backoff.ts';

const highest = (length: number) => Buffer.alloc(length, 0xff);
const lowest = (length: number) => Buffer.alloc(length);

describe('Backoff', () => {
  it('doubles up to the longest delay and starts again after a success', () => {
    const backoff = new Backoff({ initialMs: 100, maxMs: 500, random: highest });
    expect([1, 2, 3, 4].map(() => Math.round(backoff.nextMs()))).toEqual([100, 200, 400, 500]);
    backoff.reset();
    expect(Math.round(backoff.nextMs())).toBe(100);
  });

  it('never waits less than half of the full delay', () => {
    const backoff = new Backoff({ initialMs: 100, maxMs: 500, random: lowest });
    expect([1, 2, 3, 4].map(() => backoff.nextMs())).toEqual([50, 100, 200, 250]);
  });
});
