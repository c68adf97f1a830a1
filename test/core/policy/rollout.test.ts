import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ChosenProxy, StepFacts } from '../../../src/core/policy/rollout.ts';
import { ANSWER_TIMEOUT_MS, judgeStep, noCalls } from '../../../src/core/policy/rollout.ts';

const start = 1_000_000;
const bake = 120_000;
const end = start + bake;

const good: ChosenProxy = { name: 'web (instance a)', state: 'acknowledged', error: '', heardAt: end + 2_000 };

function facts(o: Partial<StepFacts> = {}): StepFacts {
  return {
    ...{ now: start, startedAt: start, watchedSince: 0, bakeStartedAt: start, bakeMs: bake, expected: 1 },
    bounds: { denials: 0.01, errors: 0.02 },
    proxies: [good],
    ...{ chosen: noCalls, before: noCalls, others: noCalls },
    ...o,
  };
}

const calls = (count: number, denials: number, errors = 0) => ({ calls: count, denials, errors });
const why = (o: Partial<StepFacts>) => {
  const verdict = judgeStep(facts(o));
  return verdict.verdict === 'roll-back' ? verdict.why : verdict.verdict;
};

describe('a step of a rollout', () => {
  it('bakes once every chosen sidecar has acknowledged, and goes on when that is over and everything is known', () => {
    const pending: ChosenProxy = { ...good, state: 'pending', heardAt: null };
    expect(why({ bakeStartedAt: null, proxies: [good, pending] })).toBe('wait');
    expect(why({ bakeStartedAt: null })).toBe('bake');
    expect(why({ now: end - 1 })).toBe('wait');
    expect(why({ now: end })).toBe('go-on');
    expect(why({ now: end, proxies: [{ ...good, heardAt: end + 999 }] })).toBe('wait');
    expect(why({ now: end, proxies: [good, { ...good, heardAt: null }] })).toBe('wait');
    expect(why({ now: end, proxies: [], expected: 0 })).toBe('go-on');
    expect(why({ bakeStartedAt: null, proxies: [], expected: 0 })).toBe('bake');
  });

  it('goes back when a sidecar refuses the candidate, with what the sidecar said', () => {
    const refused: ChosenProxy = { ...good, state: 'rejected', error: 'too old' };
    expect(why({ proxies: [good, refused] })).toBe('web (instance a) refused the candidate: too old');
  });

  it('goes back when sidecars do not answer, or do not say what they did; time without a control plane does not count', () => {
    const pending: ChosenProxy = { ...good, state: 'pending' };
    const late = { now: start + ANSWER_TIMEOUT_MS, bakeStartedAt: null, proxies: [pending, pending] };
    expect(why(late)).toBe('web (instance a) and 1 more did not acknowledge the candidate within 90 s.');
    expect(why({ ...late, now: late.now - 1 })).toBe('wait');
    expect(why({ ...late, watchedSince: start + 1 })).toBe('wait');
    const silent = { now: end + ANSWER_TIMEOUT_MS, proxies: [{ ...good, heardAt: end }] };
    expect(why(silent)).toMatch(/did not send the record of their calls within 90 s/);
    expect(why({ ...silent, watchedSince: end + 1 })).toBe('wait');
    expect(why({ now: start + ANSWER_TIMEOUT_MS, proxies: [], expected: 3 })).toMatch(/None of the 3 sidecars/);
    expect(why({ now: start + ANSWER_TIMEOUT_MS - 1, proxies: [], expected: 3, bakeStartedAt: null })).toBe('wait');
  });

  it('goes back for more denials than the same sidecars had before and the others have now', () => {
    expect(why({ chosen: calls(1000, 12) })).toBe(
      '12 of 1000 calls (1.2 %) were denied where the candidate is in force; before it was 0 %, and elsewhere it is 0 %. ' +
        'Tolerated beyond that: 1 %.',
    );
    expect(why({ chosen: calls(1000, 10) })).toBe('wait');
    expect(why({ chosen: calls(1000, 110), before: calls(50, 5) })).toBe('wait');
    expect(why({ chosen: calls(1000, 111), before: calls(50, 5) })).toMatch(/before it was 10 %/);
    expect(why({ chosen: calls(1000, 500), others: calls(10, 5) })).toBe('wait');
    expect(why({ chosen: calls(1000, 511), others: calls(10, 5) })).toMatch(/elsewhere it is 50 %/);
  });

  it('does not mind one call among few, but the second', () => {
    expect(why({ chosen: calls(2, 1) })).toBe('wait');
    expect(why({ chosen: calls(2, 2) })).toMatch(/^2 of 2 calls \(100 %\) were denied/);
  });

  it('goes back for more errors, within a bound of their own', () => {
    expect(why({ chosen: calls(1000, 0, 20) })).toBe('wait');
    expect(why({ chosen: calls(1000, 0, 21) })).toMatch(/^21 of 1000 calls \(2.1 %\) were answered with an error/);
  });

  it('says what is wrong before it says that time is over', () => {
    expect(why({ now: end + ANSWER_TIMEOUT_MS, proxies: [{ ...good, heardAt: null }], chosen: calls(9, 9) })).toMatch(
      /^9 of 9/,
    );
  });

  it('never goes on with more than is tolerated, nor without having heard of every chosen sidecar', () => {
    const count = fc
      .tuple(fc.nat(1000), fc.nat(1000), fc.nat(1000))
      .map(([n, a, b]) => calls(n, Math.min(n, a), Math.min(n, b)));
    const proxy = fc.record({
      name: fc.constant('x'),
      state: fc.constantFrom('pending' as const, 'acknowledged' as const, 'rejected' as const),
      error: fc.constant(''),
      heardAt: fc.option(fc.integer({ min: start, max: end + 300_000 })),
    });
    const any = fc.record({
      now: fc.integer({ min: start, max: end + 300_000 }),
      bakeStartedAt: fc.option(fc.integer({ min: start, max: end })),
      proxies: fc.array(proxy, { maxLength: 4 }),
      expected: fc.nat(4),
      chosen: count,
      before: count,
      others: count,
    });
    fc.assert(
      fc.property(any, (o) => {
        const given = facts(o);
        if (judgeStep(given).verdict !== 'go-on') return;
        const { chosen, before, others, bakeStartedAt, now, proxies } = given;
        const rate = (c: typeof before) => (c.calls === 0 ? 0 : c.denials / c.calls);
        const usual = Math.max(rate(before), rate(others)) * chosen.calls;
        expect(chosen.denials - usual).toBeLessThanOrEqual(Math.max(0.01 * chosen.calls, 1) + 1e-9);
        expect(now).toBeGreaterThanOrEqual((bakeStartedAt ?? Number.POSITIVE_INFINITY) + bake);
        for (const { heardAt, state } of proxies) {
          expect(state).not.toBe('rejected');
          expect(heardAt ?? 0).toBeGreaterThan((bakeStartedAt ?? 0) + bake);
        }
      }),
      { numRuns: 2_000, seed: 7 },
    );
  });
});
