import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../../src/base/log.ts';
import { WatchSource } from '../../../../src/base/watch.ts';
import { DEFAULT_DENY } from '../../../../src/core/policy/model.ts';
import { LiveCalls } from '../../../../src/node/sidecar/live/live-calls.ts';
import type { PolicyState } from '../../../../src/node/sidecar/policy-state.ts';
import { nobody } from '../../../../src/node/sidecar/quarantine/list.ts';
import { FakeClock } from '../../../support/clock.ts';

/** Calls that are let in until `end`, and are old enough to be cut at `graceMs`. */
function callsUntil(end: number, { clock, graceMs = 0 }: { readonly clock: FakeClock; readonly graceMs?: number }) {
  const state = { revision: 3, hash: Buffer.from('a'), boundaries: [end] } as unknown as PolicyState;
  const policy = new WatchSource<PolicyState | undefined>(state);
  const calls = new LiveCalls<undefined>({
    policy,
    quarantine: new WatchSource(nobody),
    recheck: (_, __, now) => (now < end ? undefined : { reason: 'default-deny', rule: DEFAULT_DENY }),
    graceMs: () => graceMs,
    clock,
    logger: silentLogger,
  });
  onTestFinished(() => calls.close());
  const push = (hash: string) => policy.set({ ...state, hash: Buffer.from(hash) });
  return { calls, state, push };
}

const of = (startedAt: number) => ({ facts: undefined, parties: [], startedAt });

describe('a call that is let in', () => {
  it('is not let in after all when its grant has ended since it was decided, while it was recorded or somebody was asked', async () => {
    const clock = new FakeClock();
    const { calls, state } = callsUntil(clock.now() + 1_000, { clock });
    const decidedAt = clock.now();
    await clock.advance(1_000);
    const late = calls.begin(of(decidedAt), state);
    expect(late.wasCut).toEqual({ reason: 'default-deny', rule: DEFAULT_DENY, revision: 3 });
    expect(calls.size).toBe(0);
  });

  it('is cut when the clock was set back since it began: how old it is, nobody can tell', async () => {
    const clock = new FakeClock();
    const { calls, state, push } = callsUntil(0, { clock, graceMs: 2_000 });
    const live = calls.begin(of(clock.now()), state);
    clock.jump(-3_600_000);
    push('b');
    await clock.advance(2_000);
    expect(live.wasCut).toMatchObject({ reason: 'default-deny' });
  });
});
