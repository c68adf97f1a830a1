import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { fingerprint } from '../../../src/core/identity/bundle.ts';
import { RootRemoval } from '../../../src/edge/grpc/root-removal.ts';
import { FakeClock } from '../../support/clock.ts';
import { createTestAuthority } from '../../support/pki.ts';

const [one, two, three] = [createTestAuthority(), createTestAuthority(), createTestAuthority()];
type Authority = typeof one;

function bundleOf(authorities: readonly Authority[], tainted: readonly Authority[] = []): TrustBundle {
  const roots = authorities.flatMap(({ bundle }) => bundle.roots);
  const names = tainted.flatMap(({ bundle }) => bundle.roots.map(fingerprint));
  return { ...one.bundle, roots, ...(names.length > 0 && { tainted: names }) };
}

function started(first: TrustBundle) {
  const clock = new FakeClock();
  const bundle = new WatchSource(first);
  /** Per generation: the sockets that it took, and how often it was drained. */
  const generations: { taken: number; drained: number }[] = [];
  const open = () => {
    const generation = { taken: 0, drained: 0 };
    generations.push(generation);
    return {
      injectConnection: () => {
        generation.taken += 1;
      },
      drain: () => {
        generation.drained += 1;
      },
    };
  };
  const removal = new RootRemoval({ bundle, open, graceMs: 1, clock, logger: silentLogger });
  return { clock, bundle, removal, connect: () => removal.inject({} as Socket), generations };
}

describe('connections when a root leaves the bundle', () => {
  it('that was retired: are of a new generation from then on, and older ones end 45 s later, once', async () => {
    const { clock, bundle, connect, generations } = started(bundleOf([one, two]));
    connect();
    bundle.set(bundleOf([two]));
    connect();
    await clock.advance(44_999);
    expect(generations).toEqual([
      { taken: 1, drained: 0 },
      { taken: 1, drained: 0 },
    ]);
    await clock.advance(1);
    expect(generations.map(({ drained }) => drained)).toEqual([1, 0]);
    await clock.advance(600_000);
    expect(generations.map(({ drained }) => drained)).toEqual([1, 0]);
  });

  it('that was tainted: end at once, those of every generation', async () => {
    const { clock, bundle, connect, generations } = started(bundleOf([one, two, three]));
    bundle.set(bundleOf([two, three]));
    bundle.set(bundleOf([two, three], [two]));
    expect(generations.map(({ drained }) => drained)).toEqual([0, 0]);
    bundle.set(bundleOf([three]));
    expect(generations.map(({ drained }) => drained)).toEqual([1, 1, 0]);
    connect();
    await clock.advance(600_000);
    expect(generations).toEqual([
      { taken: 0, drained: 1 },
      { taken: 0, drained: 1 },
      { taken: 1, drained: 0 },
    ]);
  });

  it('stay when roots are only added or marked', async () => {
    const { clock, bundle, generations } = started(bundleOf([one]));
    bundle.set(bundleOf([one, two], [one]));
    await clock.advance(600_000);
    expect(generations).toEqual([{ taken: 0, drained: 0 }]);
  });

  it('leave no timer behind when the server stops', () => {
    const { clock, bundle, removal } = started(bundleOf([one, two]));
    bundle.set(bundleOf([two]));
    removal.close();
    bundle.set(bundleOf([three]));
    expect(clock.pendingTimers).toBe(0);
  });
});
