import { describe, expect, it } from 'vitest';
import { Follower } from '../../../src/control/store/follower.ts';
import { FakeClock } from '../../support/clock.ts';

/** Rounds that end when they are told to. */
function setUp() {
  const clock = new FakeClock();
  const rounds: { readonly end: () => void; readonly fail: (error: Error) => void }[] = [];
  const failures: unknown[] = [];
  const follower = new Follower({
    read: () => new Promise<void>((resolve, reject) => rounds.push({ end: resolve, fail: reject })),
    failed: (error) => failures.push(error),
    retryMs: 1000,
    clock,
  });
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
  return { clock, rounds, failures, follower, settle };
}

describe('A follower', () => {
  it('reads one round at a time, and once more for all that changed meanwhile', async () => {
    const { rounds, follower, settle } = setUp();
    let settled = 0;
    for (let i = 0; i < 3; i += 1) void follower.follow().then(() => (settled += 1));
    expect(rounds).toHaveLength(1);
    rounds[0]?.end();
    await settle();
    expect([rounds.length, settled]).toEqual([2, 0]);
    rounds[1]?.end();
    await settle();
    expect([rounds.length, settled]).toEqual([2, 3]);
    void follower.follow();
    expect(rounds).toHaveLength(3);
  });

  it('tries again after a while when it cannot read, and at once when something changes', async () => {
    const { clock, rounds, failures, follower, settle } = setUp();
    const first = follower.follow();
    rounds[0]?.fail(new Error('away'));
    await first;
    expect(failures).toEqual([new Error('away')]);
    await clock.advance(999);
    expect(rounds).toHaveLength(1);
    await clock.advance(1);
    expect(rounds).toHaveLength(2);
    void follower.follow();
    rounds[1]?.fail(new Error('still away'));
    await settle();
    expect(rounds).toHaveLength(3);
    rounds[2]?.end();
    await settle();
    await clock.advance(10_000);
    expect(rounds).toHaveLength(3);
  });

  it('reads nothing more once it is closed, and waits for the round that runs', async () => {
    const { clock, rounds, failures, follower, settle } = setUp();
    void follower.follow();
    void follower.follow();
    let closed = false;
    void follower.close().then(() => {
      closed = true;
    });
    await settle();
    expect([follower.closed, closed]).toEqual([true, false]);
    rounds[0]?.fail(new Error('too late'));
    await settle();
    expect([closed, failures]).toEqual([true, []]);
    await follower.follow();
    await clock.advance(10_000);
    expect(rounds).toHaveLength(1);
  });
});
