import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compile } from '../../../src/core/policy/compile.ts';
import { decide, decideEgress } from '../../../src/core/policy/decide.ts';
import { explain } from '../../../src/core/policy/explain.ts';
import type { Decision, Policy } from '../../../src/core/policy/model.ts';
import { egressSets, policySets, requests } from './arbitraries.ts';
import { naiveDecide, naiveEgress } from './naive.ts';

const REQUESTS_PER_SET = 60;
/** More on demand: WRIT_POLICY_CASES=10000000. */
/** To generate each request anew takes longer than all that is tested. */
const pool = fc.sample(requests, { numRuns: 5_000, seed: 20_260_102 });
const SETS = Math.ceil(Number(process.env.WRIT_POLICY_CASES ?? 120_000) / REQUESTS_PER_SET);

test('rule 2 to 7, 9 to 28, 42: on 120,000 generated cases the compiled form decides as the naive one', () => {
  const counts = { allow: 0, deny: 0, default: 0, shadow: 0, audited: 0, custom: 0, plaintext: 0 };
  fc.assert(
    fc.property(policySets, fc.nat(pool.length - REQUESTS_PER_SET), (policies, start) => {
      const compiled = compile(policies, 1);
      for (const call of pool.slice(start, start + REQUESTS_PER_SET)) {
        const decision = decide(compiled, call);
        const expected = naiveDecide(policies, call);
        if (!isSame(decision, expected)) expect({ call, ...decision }).toEqual({ call, ...expected });
        if (decision.shadow !== undefined) counts.shadow += 1;
        if (decision.audited !== undefined) counts.audited += 1;
        if (decision.custom !== undefined) counts.custom += 1;
        if (call.plaintext === true && decision.reason !== 'default-deny') counts.plaintext += 1;
        counts[decision.reason === 'default-deny' ? 'default' : decision.decision] += 1;
      }
    }),
    { seed: 20_260_101, numRuns: SETS },
  );
  const total = counts.allow + counts.deny + counts.default;
  expect(total).toBe(SETS * REQUESTS_PER_SET);
  // Were most cases decided by no rule at all, the comparison would show little.
  expect(counts.allow).toBeGreaterThan(total / 6);
  expect(counts.deny).toBeGreaterThan(total / 6);
  expect(counts.default).toBeGreaterThan(total / 20);
  expect(counts.shadow).toBeGreaterThan(total / 20);
  expect(counts.audited).toBeGreaterThan(total / 20);
  expect(counts.custom).toBeGreaterThan(total / 20);
  expect(counts.plaintext).toBeGreaterThan(total / 20);
  // Four seconds of work, and more where other tests want the same cores.
}, 60_000);

test('calls that go out are decided as the naive evaluator decides them', () => {
  const counts = new Map<string, number>();
  fc.assert(
    fc.property(egressSets, fc.array(requests, { minLength: 20, maxLength: 20 }), (policies, calls) => {
      const compiled = compile(policies, 1);
      for (const call of calls) {
        const decision = decideEgress(compiled, call);
        const expected = naiveEgress(policies, call);
        if (!isSame(decision, expected)) expect({ call, ...decision }).toEqual({ call, ...expected });
        const kind = `${decision.reason} ${decision.shadow?.decision ?? ''}`.trim();
        counts.set(kind, (counts.get(kind) ?? 0) + 1);
      }
    }),
    { seed: 13, numRuns: 500 },
  );
  for (const kind of [
    'allow-rule',
    'deny-rule',
    'default-deny',
    'egress-open',
    'egress-open deny',
    'egress-open allow',
  ]) {
    expect(counts.get(kind), kind).toBeGreaterThan(200);
  }
});

test('a change of a few policies decides as if all had been compiled anew', () => {
  fc.assert(
    fc.property(policySets, policySets, fc.array(requests, { minLength: 20, maxLength: 20 }), (all, others, calls) => {
      // Enough that stay for the change to be a small one.
      const kept = [...all, ...filler];
      const taken = new Set(all.slice(0, 3));
      const next = [
        ...kept.filter((policy) => !taken.has(policy)),
        ...others.slice(0, 3).filter((policy) => !kept.slice(3).some((p) => nameOf(p) === nameOf(policy))),
      ].filter((policy, index, list) => list.findIndex((p) => nameOf(p) === nameOf(policy)) === index);
      const first = compile(kept, 1);
      const second = compile(next, 2, first);
      expect(second.base).toBe(first.base);
      // And back, which leaves nothing beside the base.
      const third = compile(kept, 3, second);
      for (const call of calls) {
        const decision = decide(second, call);
        const expected = naiveDecide(next, call);
        if (!isSame(decision, expected)) expect({ call, ...decision }).toEqual({ call, ...expected });
        expect(isSame(decide(third, call), naiveDecide(kept, call))).toBe(true);
      }
    }),
    { seed: 11, numRuns: 300 },
  );
});

const filler: readonly Policy[] = Array.from({ length: 40 }, (_, i) => ({
  namespace: 'z',
  name: `filler-${i}`,
  revision: 1,
  selector: {},
  action: 'ALLOW',
  rules: [],
}));

function nameOf(policy: Policy): string {
  return `${policy.namespace}/${policy.name}`;
}

function isSame(a: Decision, b: Decision): boolean {
  return (
    a.decision === b.decision &&
    a.rule === b.rule &&
    a.reason === b.reason &&
    a.audited === b.audited &&
    a.shadow?.rule === b.shadow?.rule &&
    a.shadow?.decision === b.shadow?.decision &&
    a.custom?.map((each) => each.provider + each.rule).join() ===
      b.custom?.map((each) => each.provider + each.rule).join()
  );
}

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
        const verdict = naiveDecide(
          alone.map(({ shadow: _, action, ...p }) => ({ ...p, action: action === 'CUSTOM' ? 'AUDIT' : action })),
          call,
        );
        expect(verdict.reason !== 'default-deny' || verdict.audited !== undefined).toBe(one.matched);
      }
    }),
    { seed: 7, numRuns: 400 },
  );
});
