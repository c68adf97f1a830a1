import { describe, expect, it } from 'vitest';
import { uniform, uuidv7 } from '../../src/base/random.ts';
import { FakeClock } from '../support/clock.ts';

describe('uuidv7', () => {
  it('has the layout of RFC 9562 §5.7: 48 bits of time, version 7, variant 10', () => {
    const clock = new FakeClock(0x017f22e279b0);
    expect(uuidv7(clock, (length) => Buffer.alloc(length, 0xff))).toBe('017f22e2-79b0-7fff-bfff-ffffffffffff');
  });

  it('sorts by creation time', () => {
    const ids = [1, 2, 3].map((n) => uuidv7(new FakeClock(n * 1000)));
    expect([...ids].sort()).toEqual(ids);
  });
});

describe('uniform', () => {
  it('lies in [0, 1)', () => {
    expect(uniform((length) => Buffer.alloc(length))).toBe(0);
    expect(uniform((length) => Buffer.alloc(length, 0xff))).toBeLessThan(1);
  });
});
