import { describe, expect, it } from 'vitest';
import { pooledRandom, uniform, uuidv7 } from '../../src/base/random.ts';
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

describe('pooledRandom', () => {
  it('hands out every byte of its source once, in order, and asks it rarely', () => {
    let next = 0;
    let asked = 0;
    const random = pooledRandom((length) => {
      asked += 1;
      return Buffer.from(Array.from({ length }, () => next++ % 251));
    });
    const drawn = Buffer.concat(Array.from({ length: 256 }, () => random(16)));
    expect(drawn).toEqual(Buffer.from(Array.from({ length: 4096 }, (_, n) => n % 251)));
    expect(asked).toBe(1);
    random(16);
    expect(asked).toBe(2);
  });

  it('gives what is longer than its pool from the source', () => {
    expect(pooledRandom((length) => Buffer.alloc(length, 7))(10_000)).toEqual(Buffer.alloc(10_000, 7));
  });
});
