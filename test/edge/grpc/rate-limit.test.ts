import { describe, expect, it } from 'vitest';
import { RateLimit } from '../../../src/edge/grpc/rate-limit.ts';
import { sourceOf } from '../../../src/edge/grpc/source.ts';
import { FakeClock } from '../../support/clock.ts';
import { expectAppError } from '../../support/errors.ts';

describe('RateLimit', () => {
  it('allows the burst, then as many as the rate refills, for each source by itself', async () => {
    const clock = new FakeClock();
    const rate = new RateLimit({ perSecond: 10, burst: 3, clock });
    for (let i = 0; i < 3; i++) rate.take('a');
    const error = await expectAppError(() => rate.take('a'), 'exhausted', /Try again in 1 s/);
    expect(error.retryAfterSeconds).toBe(1);
    rate.take('b');
    await clock.advance(100);
    rate.take('a');
    await expectAppError(() => rate.take('a'), 'exhausted');
    await clock.advance(3_600_000);
    for (let i = 0; i < 3; i++) rate.take('a');
    await expectAppError(() => rate.take('a'), 'exhausted');
  });

  it('does not punish for a clock that was set back', async () => {
    let now = 10_000;
    const rate = new RateLimit({ perSecond: 1, burst: 2, clock: { now: () => now, after: () => () => undefined } });
    rate.take('a');
    now = 0;
    rate.take('a');
    await expectAppError(() => rate.take('a'), 'exhausted');
    now = 1000;
    rate.take('a');
  });

  it('forgets the source that was seen longest ago, and not one that keeps trying', async () => {
    const rate = new RateLimit({ perSecond: 1, burst: 1, clock: new FakeClock() });
    rate.take('old');
    rate.take('busy');
    for (let i = 0; i < 9_999; i++) {
      rate.take(`${i}`);
      if (i % 1000 === 0) await expectAppError(() => rate.take('busy'), 'exhausted');
    }
    rate.take('old');
  });
});

describe('sourceOf', () => {
  it.each([
    ['10.1.2.3:4567', '10.1.2.3'],
    ['::ffff:10.1.2.3:4567', '10.1.2.3'],
    ['::1:4567', '0:0:0:0::/64'],
    ['2001:db8:0:1:aaaa:bbbb:cccc:dddd:4567', '2001:db8:0:1::/64'],
    ['2001:DB8:0:1::5:4567', '2001:db8:0:1::/64'],
    ['2001:db8::1:4567', '2001:db8:0:0::/64'],
    ['fe80::1%eth0:4567', 'fe80:0:0:0::/64'],
    ['unknown', 'unknown'],
  ])('%s is %s', (peer, source) => {
    expect(sourceOf(peer)).toBe(source);
  });
});
