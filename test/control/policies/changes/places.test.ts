import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVERYBODY, placeOf, thresholdFor } from '../../../../src/control/policies/changes/places.ts';

const ids = (count: number) => Array.from({ length: count }, (_, i) => `instance-${i}`);
const chosen = (change: number, all: readonly string[], threshold: number) =>
  all.filter((id) => placeOf(change, id) < threshold);

describe('the sidecars of a step', () => {
  it('are the share that was asked for, rounded up: at least one', () => {
    const all = ids(100);
    const counts = [1, 10, 50, 99.5, 100].map((percent) => chosen(7, all, thresholdFor(7, all, percent, 0)).length);
    expect(counts).toEqual([1, 10, 50, 100, 100]);
    expect(chosen(7, ids(3), thresholdFor(7, ids(3), 1, 0))).toHaveLength(1);
    expect(thresholdFor(7, [], 50, 0)).toBe(EVERYBODY / 2 + 1);
    expect(thresholdFor(7, [], 100, 0)).toBe(EVERYBODY);
  });

  it('stay chosen from step to step, whoever comes and goes', () => {
    const fleet = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(fc.nat(), fleet, fleet, (change, first, second) => {
        let threshold = 0;
        let before: readonly string[] = [];
        for (const [i, percent] of [1, 10, 50, 100].entries()) {
          const all = i % 2 === 0 ? first : second;
          const next = thresholdFor(change, all, percent, threshold);
          expect(next).toBeGreaterThanOrEqual(threshold);
          const now = chosen(change, first, next);
          expect(now).toEqual(expect.arrayContaining([...before]));
          expect(chosen(change, all, next).length).toBeGreaterThanOrEqual(Math.ceil((percent / 100) * all.length));
          [threshold, before] = [next, now];
        }
        expect(chosen(change, first, threshold)).toEqual(first);
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  it('are others for another change', () => {
    const all = ids(1000);
    const [a, b] = [1, 2].map((change) => chosen(change, all, thresholdFor(change, all, 10, 0)));
    const both = a?.filter((id) => b?.includes(id)) ?? [];
    expect(both.length).toBeLessThan(30);
  });
});
