import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { Clock } from '../../base/clock.ts';
import type { Planner } from '../../control/policies/plan.ts';
import { policyKindNames } from '../../core/policy/kinds.ts';
import type { App } from './app.ts';
import { authorOf } from './change.ts';
import { hungUp } from './hung-up.ts';
import { CaseOutput, PlanOutput, toCaseOutput, toPlanOutput } from './policy-plan-schema.ts';
import { closed, namespaceName, objectName, oneOf, revision } from './schemas.ts';
import { parseTime } from './time.ts';

const text = Type.String({ minLength: 1, maxLength: 1024 * 1024 });
const when = (description: string) => Type.Optional(Type.String({ minLength: 1, maxLength: 64, description }));

const candidate = {
  put: Type.Optional(
    Type.Array(text, { maxItems: 1000, description: 'Texts, YAML or JSON, of documents of any kind.' }),
  ),
  delete: Type.Optional(
    Type.Array(Type.Object({ kind: oneOf(policyKindNames), namespace: namespaceName, name: objectName }, closed), {
      maxItems: 1000,
    }),
  ),
};
const cases = Type.Array(text, { maxItems: 100, description: 'Texts of documents of the kind PolicyTest.' });

/** A folder of policies with its expectations. */
const BODY_LIMIT_BYTES = 8 * 1024 * 1024;

export interface PolicyPlanDeps {
  readonly planner: Pick<Planner, 'plan' | 'test'>;
  readonly clock: Clock;
}

/** POST /v1/policies:plan, POST /v1/policies:test */
export function policyPlan(app: App, deps: PolicyPlanDeps): void {
  planRoute(app, deps);
  testRoute(app, deps);
}

function planRoute(app: App, deps: PolicyPlanDeps): void {
  app.post(
    '/v1/policies::plan',
    {
      bodyLimit: BODY_LIMIT_BYTES,
      config: { readOnly: true },
      schema: {
        operationId: 'planPolicies',
        summary: 'What would these changes have done to the calls that were recorded?',
        description:
          'Replays the calls of a window over the candidate, and runs expectations. Nothing comes into force.',
        tags: ['policies'],
        querystring: Type.Object({}, closed),
        body: Type.Object(
          {
            ...candidate,
            since: when('Calls at or after: RFC 3339, or an age such as 15m, 2h, 7d. Default: 24h.'),
            until: when('Calls before. Default: now.'),
            cases: Type.Optional(cases),
          },
          closed,
        ),
        response: { 200: PlanOutput },
      },
    },
    async (request, reply): Promise<Static<typeof PlanOutput>> => {
      const now = deps.clock.now();
      const { put = [], delete: deletions, since, until } = request.body;
      const changed = { put, ...(deletions !== undefined && { delete: deletions }) };
      const tested = await deps.planner.test({ ...changed, cases: request.body.cases ?? [] });
      const plan = await deps.planner.plan(
        {
          ...changed,
          ...(since !== undefined && { since: parseTime(since, 'since', now) }),
          ...(until !== undefined && { until: parseTime(until, 'until', now) }),
          author: authorOf(request),
        },
        hungUp(reply),
      );
      return toPlanOutput(plan, tested.results);
    },
  );
}

function testRoute(app: App, deps: PolicyPlanDeps): void {
  app.post(
    '/v1/policies::test',
    {
      bodyLimit: BODY_LIMIT_BYTES,
      config: { readOnly: true },
      schema: {
        operationId: 'testPolicies',
        summary: 'Do the policies decide as is expected?',
        description: 'Runs cases over the policies that are in force, changed as `put` and `delete` say.',
        tags: ['policies'],
        querystring: Type.Object({}, closed),
        body: Type.Object({ ...candidate, cases }, closed),
        response: {
          200: Type.Object(
            {
              policyRevision: revision,
              passed: Type.Integer({ minimum: 0 }),
              failed: Type.Integer({ minimum: 0 }),
              cases: Type.Array(CaseOutput),
            },
            closed,
          ),
        },
      },
    },
    async (request) => {
      const { put = [], delete: deletions, cases: texts } = request.body;
      const input = { put, ...(deletions !== undefined && { delete: deletions }), cases: texts };
      const { policyRevision, results } = await deps.planner.test(input);
      const passed = results.filter((each) => each.passed).length;
      return { policyRevision, passed, failed: results.length - passed, cases: results.map(toCaseOutput) };
    },
  );
}
