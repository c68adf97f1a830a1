import { describe, expect, it } from 'vitest';
import { sleep } from '../../src/base/clock.ts';
import { FakeClock } from '../support/clock.ts';

describe('sleep', () => {
  it('ends when the time has passed', async () => {
    const clock = new FakeClock();
    let over = false;
    const sleeping = sleep(clock, 100).then(() => {
      over = true;
    });
    await clock.advance(99);
    expect(over).toBe(false);
    await clock.advance(1);
    await sleeping;
    expect(over).toBe(true);
  });

  it('ends at once when the signal aborts, and leaves no timer behind', async () => {
    const clock = new FakeClock();
    const stop = new AbortController();
    const sleeping = sleep(clock, 100, stop.signal);
    stop.abort();
    await sleeping;
    await sleep(clock, 100, stop.signal);
    expect(clock.pendingTimers).toBe(0);
  });
});
