import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compile } from '../../../src/core/policy/compile.ts';
import { decide } from '../../../src/core/policy/decide.ts';
import { explain } from '../../../src/core/policy/explain.ts';
import { policySets, requests } from './arbitraries.ts';
import { naiveDecide } from './naive.ts';

const REQUESTS_PER_SET = 60;

test('policy 2 to 13, 22, 24, 25: on 120,000 generated cases the compiled form decides as the naive one', () => {
  const counts = { allow: 0, deny: 0, default: 0 };
  fc.assert(
    fc.property(
      policySets,
      fc.array(requests, { minLength: REQUESTS_PER_SET, maxLength: REQUESTS_PER_SET }),
      (policies, calls) => {
        const compiled = compile(policies, 1);
        for (const call of calls) {
          const decision = decide(compiled, call);
          const expected = naiveDecide(policies, call);
          if (decision.rule !== expected.rule || decision.decision !== expected.decision) {
            expect({ call, ...decision }).toEqual({ call, ...expected });
          }
          expect(decision.reason === expected.reason).toBe(true);
          counts[decision.reason === 'default-deny' ? 'default' : decision.decision] += 1;
        }
      },
    ),
    { seed: 20_260_101, numRuns: 2000 },
  );
  const total = counts.allow + counts.deny + counts.default;
  expect(total).toBe(120_000);
  // Were most cases decided by no rule at all, the comparison would show little.
  expect(counts.allow).toBeGreaterThan(total / 6);
  expect(counts.deny).toBeGreaterThan(total / 6);
  expect(counts.default).toBeGreaterThan(total / 20);
});

test('an explanation reaches the verdict of decide, and its matching rules are those that match alone', () => {
  fc.assert(
    fc.property(policySets, requests, (policies, call) => {
      const { considered, ...decision } = explain(policies, call);
      expect(decision).toEqual(decide(compile(policies, 1), call));
      expect(considered.length).toBe(policies.reduce((sum, p) => sum + p.rules.length, 0));
      for (const one of considered) {
        expect(one.failed.length === 0).toBe(one.matched);
        const alone = policies.flatMap((p) =>
          p.rules.flatMap((rule, index) =>
            `${p.namespace}/${p.name}@${p.revision}#${index}` === one.rule ? [{ ...p, rules: [rule] }] : [],
          ),
        );
        expect(naiveDecide(alone, call).reason !== 'default-deny').toBe(one.matched);
      }
    }),
    { seed: 7, numRuns: 400 },
  );
});
