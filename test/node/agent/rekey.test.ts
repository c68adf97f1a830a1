import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { WatchSource } from '../../../src/base/watch.ts';
import type { TrustBundle } from '../../../src/core/identity/bundle.ts';
import { fingerprint } from '../../../src/core/identity/bundle.ts';
import { rekeyWhenTainted } from '../../../src/node/agent/rekey.ts';
import type { Svid } from '../../../src/node/agent/svid.ts';
import { FakeClock } from '../../support/clock.ts';
import type { TestAuthority } from '../../support/pki.ts';
import { createTestAuthority } from '../../support/pki.ts';

const WEB = 'spiffe://example.org/ns/shop/sa/web';

function setUp(o: { readonly lots?: number } = {}) {
  const clock = new FakeClock();
  const old = createTestAuthority({ now: clock.now() });
  const next = createTestAuthority({ now: clock.now() });
  const svidOf = (authority: TestAuthority): Svid => authority.issue(WEB);
  const both = { ...old.bundle, roots: [...old.bundle.roots, ...next.bundle.roots] };
  const current = new WatchSource<Svid>(svidOf(old));
  const bundle = new WatchSource<TrustBundle>(old.bundle);
  const replaced: number[] = [];
  const end = rekeyWhenTainted({
    current,
    bundle,
    replace: () => replaced.push(clock.now()),
    clock,
    random: (length) => Buffer.alloc(length, o.lots ?? 0x80),
    logger: silentLogger,
  });
  onTestFinished(end);
  const tainted = [fingerprint(old.bundle.roots[0] ?? Buffer.alloc(0))];
  return { clock, old, next, both, current, bundle, replaced, end, tainted, svidOf, start: clock.now() };
}

it('another root in the bundle is no reason to replace anything', async () => {
  const { bundle, both, replaced, clock } = setUp();
  bundle.set({ ...both, sequence: 2 });
  await clock.advance(3_600_000);
  expect(replaced).toEqual([]);
});

it('a certificate below a tainted root is replaced once, within 30 seconds, at a moment drawn by lot', async () => {
  for (const [lots, afterMs] of [
    [0x00, 0],
    [0x80, 15_059],
    [0xff, 30_000],
  ] as const) {
    const { bundle, both, tainted, replaced, clock, start } = setUp({ lots });
    bundle.set({ ...both, sequence: 2, tainted });
    // Changes in between draw no lots again.
    for (let sequence = 3; sequence < 20; sequence++) {
      await clock.advance(1_000);
      bundle.set({ ...both, sequence, tainted });
    }
    await clock.advance(60_000);
    expect(replaced).toEqual([expect.closeTo(start + afterMs, -2)]);
  }
});

it('a certificate whose root has left the bundle is replaced at once', async () => {
  const { bundle, next, replaced, clock, start } = setUp();
  bundle.set({ ...next.bundle, sequence: 2 });
  await clock.advance(0);
  expect(replaced).toEqual([start]);
});

it('a certificate that is short-lived is replaced before it ends', async () => {
  const { bundle, both, tainted, replaced, clock, current, old, start } = setUp({ lots: 0xff });
  current.set(old.issue(WEB, { notAfter: start + 10_000 }));
  bundle.set({ ...both, sequence: 2, tainted });
  await clock.advance(5_000);
  expect(replaced).toHaveLength(1);
});

it('one that was replaced meanwhile, or a taint that was a mistake, is left alone', async () => {
  for (const change of ['renewed', 'cleared', 'ended'] as const) {
    const { bundle, both, tainted, replaced, clock, current, next, svidOf, end } = setUp();
    bundle.set({ ...both, sequence: 2, tainted });
    await clock.advance(1_000);
    if (change === 'renewed') current.set(svidOf(next));
    else if (change === 'cleared') bundle.set({ ...both, sequence: 3 });
    else end();
    await clock.advance(3_600_000);
    expect(replaced, change).toEqual([]);
  }
});

it('one that was signed before the taint and came after it is replaced too', async () => {
  const { bundle, both, tainted, replaced, clock, current, next, svidOf, old } = setUp();
  bundle.set({ ...both, sequence: 2, tainted });
  await clock.advance(1_000);
  // It was under way.
  current.set(svidOf(old));
  await clock.advance(60_000);
  expect(replaced).toHaveLength(1);
  current.set(svidOf(next));
  await clock.advance(3_600_000);
  expect(replaced).toHaveLength(1);
});

it('while there is no other root, each is replaced after twice as long as the one before', async () => {
  const { bundle, both, tainted, replaced, clock, current, old } = setUp({ lots: 0 });
  const week = () => old.issue(WEB, { notAfter: clock.now() + 7 * 24 * 3_600_000 });
  current.set(week());
  bundle.set({ ...both, sequence: 2, tainted });
  const pauses: number[] = [];
  for (let sequence = 3; sequence < 13; sequence++) {
    const before = { count: replaced.length, at: clock.now() };
    while (replaced.length === before.count) {
      bundle.set({ ...both, sequence, tainted });
      await clock.advance(10_000);
    }
    pauses.push((replaced.at(-1) ?? 0) - before.at);
    current.set(week());
  }
  expect(pauses.slice(1, 5)).toEqual([30_000, 60_000, 120_000, 240_000]);
  expect(pauses.at(-1)).toBe(3_600_000);
});
