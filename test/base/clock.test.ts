import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { sleep, systemClock } from '../../src/base/clock.ts';
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

describe('a timer of the system clock', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const HOUR_MS = 3_600_000;
  const DAY_MS = 24 * HOUR_MS;

  function timer(ms: number) {
    let fired = 0;
    const cancel = systemClock.after(ms, () => {
      fired += 1;
    });
    return { fired: () => fired, cancel };
  }

  it('fires once, when its time has come', () => {
    const { fired } = timer(HOUR_MS);
    vi.advanceTimersByTime(HOUR_MS - 1);
    expect(fired()).toBe(0);
    vi.advanceTimersByTime(1);
    expect(fired()).toBe(1);
    vi.advanceTimersByTime(DAY_MS);
    expect(fired()).toBe(1);
  });

  it('can wait longer than a timer of the runtime can', () => {
    const { fired } = timer(40 * DAY_MS);
    vi.advanceTimersByTime(40 * DAY_MS - 1);
    expect(fired()).toBe(0);
    vi.advanceTimersByTime(1);
    expect(fired()).toBe(1);
  });

  it('fires within seconds after a machine was suspended beyond its time', () => {
    const { fired } = timer(HOUR_MS);
    vi.advanceTimersByTime(60_000);
    // The time of day went on; the timers stood still.
    vi.setSystemTime(Date.now() + 2 * HOUR_MS);
    expect(fired()).toBe(0);
    vi.advanceTimersByTime(15_000);
    expect(fired()).toBe(1);
  });

  it('is not held up by a clock that is set back', () => {
    const { fired } = timer(HOUR_MS);
    vi.advanceTimersByTime(60_000);
    vi.setSystemTime(Date.now() - DAY_MS);
    vi.advanceTimersByTime(HOUR_MS - 60_000);
    expect(fired()).toBe(1);
  });

  it('does not fire once it was cancelled, in whichever slice', () => {
    const early = timer(HOUR_MS);
    early.cancel();
    const late = timer(HOUR_MS);
    vi.advanceTimersByTime(HOUR_MS / 2);
    late.cancel();
    vi.advanceTimersByTime(DAY_MS);
    expect([early.fired(), late.fired(), vi.getTimerCount()]).toEqual([0, 0, 0]);
  });
});
