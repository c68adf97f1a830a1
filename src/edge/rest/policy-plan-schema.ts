import { Type } from 'typebox';
import type { PolicyPlan } from '../../control/policies/plan.ts';
import type { Flip, FlipGroup } from '../../core/policy/flips.ts';
import type { CaseResult } from '../../core/policy/policy-case.ts';
import { closed, nullable, oneOf, revision, time } from './schemas.ts';
import { toTime } from './time.ts';

/** The answer of a plan, as it stands in the OpenAPI document and as it is made from what control says. */

const count = (description?: string) => Type.Integer({ minimum: 0, ...(description !== undefined && { description }) });

const Side = Type.Object(
  {
    decision: oneOf(['allow', 'deny', 'unknown']),
    rule: Type.String({ description: 'Of the candidate: with the revision 0.' }),
  },
  closed,
);

const Group = Type.Object(
  {
    source: Type.String({ description: 'SPIFFE ID; empty for calls in plain text.' }),
    destination: Type.String(),
    operation: Type.Object(
      {
        protocol: oneOf(['http', 'grpc', 'tcp']),
        method: Type.String(),
        path: Type.String({ description: 'Of several that differ in ids alone, with {*} in their places.' }),
        port: Type.Integer(),
      },
      closed,
    ),
    calls: count(),
    lastSeen: time,
    examples: Type.Array(Type.String(), { description: 'Ids of audit events.' }),
    before: Side,
    after: Side,
    because: Type.Array(Type.String(), { description: 'What was not recorded and decides; empty where it is known.' }),
  },
  closed,
);

const FlipOutput = Type.Object(
  {
    calls: count(),
    groups: Type.Array(Group, { description: 'At most 500, those with the most calls first.' }),
    unlisted: Type.Object({ groups: count(), calls: count() }, closed),
  },
  closed,
);

export const CaseOutput = Type.Object(
  {
    name: Type.String(),
    passed: Type.Boolean(),
    expected: Type.Object({ decision: oneOf(['allow', 'deny']), rule: Type.Optional(Type.String()) }, closed),
    decision: oneOf(['allow', 'deny']),
    reason: Type.String(),
    rule: Type.String(),
    asks: Type.Array(Type.String(), { description: 'External authorizers that must agree before an allow is one.' }),
    considered: Type.Array(
      Type.Object(
        { rule: Type.String(), action: Type.String(), matched: Type.Boolean(), failed: Type.Array(Type.String()) },
        closed,
      ),
      { description: 'Of a case that failed: every rule that applies, and what of it did not match.' },
    ),
    notes: Type.Array(Type.String()),
    line: nullable(Type.Integer({ minimum: 1 })),
  },
  closed,
);

export const PlanOutput = Type.Object(
  {
    baseRevision: revision,
    changes: Type.Array(
      Type.Object(
        {
          kind: Type.String(),
          namespace: Type.String(),
          name: Type.String(),
          operation: oneOf(['create', 'replace', 'delete', 'same'], {
            description: '`same`: the text may be another, and means what it meant.',
          }),
        },
        closed,
      ),
    ),
    at: Type.Unsafe<string>({ ...time, description: 'The calls were decided as if they came then.' }),
    window: Type.Object({ since: time, until: time, replayedFrom: time }, closed),
    calls: Type.Object(
      {
        recorded: count('In the window.'),
        replayed: count('Decided again.'),
        untouched: count('Of those: that no changed rule can match.'),
        notReplayed: Type.Record(Type.String(), Type.Integer(), {
          description: 'Refused for what is none of the policies, by reason.',
        }),
      },
      closed,
    ),
    newlyDenied: FlipOutput,
    newlyAllowed: FlipOutput,
    unknown: FlipOutput,
    unused: Type.Array(Type.String(), { description: 'Policies of the candidate that no call of the window needed.' }),
    expectations: Type.Object(
      { passed: count(), failed: count(), cases: Type.Array(CaseOutput, { description: 'Those that failed.' }) },
      closed,
    ),
    notes: Type.Array(Type.String(), { description: 'What to know before relying on this answer.' }),
  },
  closed,
);

export function toPlanOutput(plan: PolicyPlan, cases: readonly CaseResult[]) {
  const failed = cases.filter((each) => !each.passed);
  return {
    baseRevision: plan.baseRevision,
    changes: plan.changes.map((each) => ({ ...each })),
    at: toTime(plan.at),
    window: {
      since: toTime(plan.window.since),
      until: toTime(plan.window.until),
      replayedFrom: toTime(plan.window.replayedFrom),
    },
    calls: { ...plan.calls, notReplayed: { ...plan.calls.notReplayed } as Record<string, number> },
    newlyDenied: toFlip(plan.newlyDenied),
    newlyAllowed: toFlip(plan.newlyAllowed),
    unknown: toFlip(plan.unknown),
    unused: [...plan.unused],
    expectations: {
      passed: cases.length - failed.length,
      failed: failed.length,
      cases: failed.map(toCaseOutput),
    },
    notes: [...plan.notes],
  };
}

function toFlip({ calls, groups, unlisted }: Flip) {
  return { calls, groups: groups.map(toGroup), unlisted: { ...unlisted } };
}

function toGroup({ last, examples, because, operation, before, after, ...group }: FlipGroup) {
  return {
    ...group,
    operation: { ...operation },
    before: { ...before },
    after: { ...after },
    lastSeen: toTime(last),
    examples: [...examples],
    because: [...because],
  };
}

export function toCaseOutput(result: CaseResult) {
  const { name, passed, expected, decision, reason, rule, asks, considered, notes, line } = result;
  return {
    ...{ name, passed, expected, decision, reason, rule, asks: [...asks], notes: [...notes], line: line ?? null },
    considered: considered.map((each) => ({
      rule: each.rule,
      action: each.action,
      matched: each.matched,
      failed: [...each.failed],
    })),
  };
}
