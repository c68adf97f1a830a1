import { describe, expect, it } from 'vitest';
import { AppError } from '../../../../src/base/errors.ts';
import type { CachedToken } from '../../../../src/node/agent/identities/token-cache.ts';
import { TokenCache } from '../../../../src/node/agent/identities/token-cache.ts';
import { FakeClock } from '../../../support/clock.ts';
import { expectAppError } from '../../../support/errors.ts';

function start(maxTokens?: number) {
  const clock = new FakeClock();
  const world = { fetched: 0, failure: undefined as AppError | undefined };
  const cache = new TokenCache<CachedToken>({ clock, ...(maxTokens !== undefined && { maxTokens }) });
  const fetch = async () => {
    world.fetched += 1;
    await Promise.resolve();
    if (world.failure !== undefined) throw world.failure;
    return { token: `t${world.fetched}`, issuedAt: clock.now(), expiresAt: clock.now() + 300_000 };
  };
  const get = async (key: string, isGood?: (kept: CachedToken) => boolean) =>
    (await cache.get(key, fetch, isGood)).token;
  return { clock, world, cache, get };
}

describe('tokens that are kept', () => {
  it('are handed out again until half of their life has passed', async () => {
    const { clock, get, world } = start();
    expect(await get('a')).toBe('t1');
    await clock.advance(149_000);
    expect(await get('a')).toBe('t1');
    expect(await get('b')).toBe('t2');
    await clock.advance(2_000);
    expect(await get('a')).toBe('t3');
    expect(world.fetched).toBe(3);
  });

  it('who asks for the same at the same time shares one answer, a failure as well', async () => {
    const { get, world } = start();
    expect(await Promise.all([get('a'), get('a'), get('a')])).toEqual(['t1', 't1', 't1']);
    world.failure = new AppError('forbidden', 'No.');
    const failed = await Promise.allSettled([get('b'), get('b')]);
    expect(failed.map((each) => each.status)).toEqual(['rejected', 'rejected']);
    expect(world.fetched).toBe(2);
    world.failure = undefined;
    expect(await get('b')).toBe('t3');
  });

  it('are good in their second half while the control plane is away, and never after they have expired', async () => {
    const { clock, get, world } = start();
    await get('a');
    await clock.advance(200_000);
    for (const code of ['unavailable', 'deadline-exceeded', 'exhausted'] as const) {
      world.failure = new AppError(code, 'away');
      expect(await get('a')).toBe('t1');
    }
    await clock.advance(100_000);
    await expectAppError(get('a'), 'exhausted');
  });

  it('are not handed out in place of a refusal', async () => {
    const { clock, get, world } = start();
    await get('a');
    await clock.advance(200_000);
    world.failure = new AppError('not-found', 'No such entry.');
    await expectAppError(get('a'), 'not-found');
  });

  it('one that is not good any more is as if it were not there, also while the control plane is away', async () => {
    const { get, world } = start();
    await get('a');
    expect(await get('a', () => false)).toBe('t2');
    world.failure = new AppError('unavailable', 'away');
    await expectAppError(
      get('a', () => false),
      'unavailable',
    );
  });

  it('the one that was used longest ago goes when there are too many', async () => {
    const { get, cache, world } = start(2);
    await get('a');
    await get('b');
    await get('a');
    await get('c');
    expect(cache.size).toBe(2);
    await get('a');
    expect(world.fetched).toBe(3);
    await get('b');
    expect(world.fetched).toBe(4);
  });
});
