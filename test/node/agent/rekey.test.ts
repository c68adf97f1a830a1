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

it('a new one below the same tainted root is not replaced in a loop', async () => {
  const { bundle, both, tainted, replaced, clock, current, old, svidOf } = setUp();
  bundle.set({ ...both, sequence: 2, tainted });
  await clock.advance(30_000);
  current.set(svidOf(old));
  for (let sequence = 3; sequence < 10; sequence++) {
    bundle.set({ ...both, sequence, tainted });
    await clock.advance(60_000);
  }
  expect(replaced).toHaveLength(1);
});
