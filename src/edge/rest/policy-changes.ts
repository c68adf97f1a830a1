import { Type } from 'typebox';
import type { ChangeViews } from '../../control/policies/changes/change-views.ts';
import type { Changes } from '../../control/policies/changes/changes.ts';
import { changeDefaults, changeStates } from '../../core/policy/change.ts';
import type { App } from './app.ts';
import { authorOf, reason as reasonQuery, reasonText } from './change.ts';
import {
  bakeSeconds,
  ChangeOutput,
  FullChangeOutput,
  kind,
  maxDenials,
  maxErrors,
  steps,
  toChangeOutput,
  toFullChange,
} from './policy-change-schema.ts';
import {
  closed,
  cursor,
  DEFAULT_LIMIT,
  dryRun,
  limit,
  namespaceName,
  nullable,
  objectName,
  oneOf,
  revision,
} from './schemas.ts';

const params = Type.Object(
  { revision: Type.String({ pattern: '^[1-9][0-9]{0,14}$', description: 'Number of the change.' }) },
  closed,
);
const text = Type.String({ minLength: 1, maxLength: 1024 * 1024 });

/** A folder of policies, put at once. */
const BODY_LIMIT_BYTES = 8 * 1024 * 1024;

export interface PolicyChangesDeps {
  readonly changes: Pick<Changes, 'propose' | 'approve' | 'reject' | 'apply' | 'rollout' | 'abort'>;
  readonly changeViews: Pick<ChangeViews, 'list' | 'get'>;
}

/** GET, POST /v1/policy-changes; below /{revision}: GET, POST :approve, :reject, :apply, :rollout, :abort */
export function policyChanges(app: App, deps: PolicyChangesDeps): void {
  readRoutes(app, deps);
  app.post(
    '/v1/policy-changes',
    {
      bodyLimit: BODY_LIMIT_BYTES,
      schema: {
        operationId: 'proposePolicyChange',
        summary: 'Propose a set of documents that come into force together. It is in force nowhere yet.',
        tags: ['policy-changes'],
        querystring: Type.Object({ dryRun }, closed),
        body: Type.Object(
          {
            put: Type.Optional(
              Type.Array(text, { maxItems: 1000, description: 'Texts, YAML or JSON, of documents of any kind.' }),
            ),
            delete: Type.Optional(
              Type.Array(Type.Object({ kind, namespace: namespaceName, name: objectName }, closed), { maxItems: 1000 }),
            ),
            reason: reasonText,
            expiresInSeconds: Type.Optional(
              Type.Integer({ minimum: 60, maximum: 2_592_000, default: changeDefaults.expiresInSeconds }),
            ),
          },
          closed,
        ),
        response: { 201: ChangeOutput },
      },
    },
    async (request, reply) => {
      const { put = [], delete: deletions, reason, expiresInSeconds } = request.body;
      const { dryRun: isDry } = request.query;
      const input = { put, delete: deletions, reason, expiresInSeconds, author: authorOf(request), dryRun: isDry };
      const change = await deps.changes.propose(input);
      reply.code(201);
      if (isDry === true) return { ...toChangeOutput(change), warnings: [] };
      reply.header('location', `/v1/policy-changes/${change.revision}`);
      return toChangeOutput(change);
    },
  );
  decisionRoutes(app, deps);
  rolloutRoute(app, deps);
}

function readRoutes(app: App, deps: PolicyChangesDeps): void {
  app.get(
    '/v1/policy-changes',
    {
      schema: {
        operationId: 'listPolicyChanges',
        summary: 'Proposed changes of policies, and what became of them; newest first.',
        tags: ['policy-changes'],
        querystring: Type.Object(
          {
            state: Type.Optional(oneOf(changeStates)),
            namespace: Type.Optional(namespaceName),
            author: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'Exactly this one.' })),
            limit,
            cursor,
          },
          closed,
        ),
        response: {
          200: Type.Object({ items: Type.Array(ChangeOutput), nextCursor: nullable(Type.String()), revision }, closed),
        },
      },
    },
    async (request) => {
      const { limit: most, ...filter } = request.query;
      const page = await deps.changeViews.list({ ...filter, limit: most ?? DEFAULT_LIMIT });
      return { items: page.items.map(toChangeOutput), nextCursor: page.nextCursor, revision: page.revision };
    },
  );

  app.get(
    '/v1/policy-changes/:revision',
    {
      schema: {
        operationId: 'getPolicyChange',
        summary:
          'One change: its documents with what they change, how far its rollout is, and all that happened to it.',
        tags: ['policy-changes'],
        params,
        querystring: Type.Object({}, closed),
        response: { 200: FullChangeOutput },
      },
    },
    async (request) => toFullChange(await deps.changeViews.get(Number(request.params.revision))),
  );
}

const decisions = [
  {
    verb: 'approve',
    operationId: 'approvePolicyChange',
    summary: 'Agree to a change. Its author cannot.',
  },
  {
    verb: 'reject',
    operationId: 'rejectPolicyChange',
    summary: 'Refuse a change; its author withdraws it so.',
  },
  {
    verb: 'apply',
    operationId: 'applyPolicyChange',
    summary: 'Put a change into force for every sidecar at once.',
  },
  {
    verb: 'abort',
    operationId: 'abortPolicyChange',
    summary: 'Stop a rollout: every sidecar has what was in force before it.',
  },
] as const;

function decisionRoutes(app: App, deps: PolicyChangesDeps): void {
  for (const { verb, operationId, summary } of decisions) {
    app.post(
      `/v1/policy-changes/:revision([^/:]+)::${verb}`,
      {
        schema: {
          operationId,
          summary,
          tags: ['policy-changes'],
          params,
          querystring: Type.Object({ dryRun, reason: reasonQuery }, closed),
          response: { 200: ChangeOutput },
        },
      },
      async (request) => {
        const { dryRun: isDry, reason } = request.query;
        const input = { revision: Number(request.params.revision), by: authorOf(request), reason, dryRun: isDry };
        const change = await deps.changes[verb](input);
        return { ...toChangeOutput(change), ...(isDry === true && { warnings: [] }) };
      },
    );
  }
}

function rolloutRoute(app: App, deps: PolicyChangesDeps): void {
  app.post(
    '/v1/policy-changes/:revision([^/:]+)::rollout',
    {
      schema: {
        operationId: 'rollOutPolicyChange',
        summary: 'Put a change into force step by step; it stops and goes back by itself when calls fail.',
        tags: ['policy-changes'],
        params,
        querystring: Type.Object({ dryRun, reason: reasonQuery }, closed),
        body: Type.Object(
          {
            steps: Type.Optional(steps),
            bakeSeconds: Type.Optional(bakeSeconds),
            maxDenials: Type.Optional(maxDenials),
            maxErrors: Type.Optional(maxErrors),
          },
          closed,
        ),
        response: { 200: ChangeOutput },
      },
    },
    async (request) => {
      const { dryRun: isDry, reason } = request.query;
      const { body } = request;
      const { bounds } = changeDefaults;
      const plan = {
        steps: body.steps ?? changeDefaults.steps,
        bakeMs: body.bakeSeconds === undefined ? changeDefaults.bakeMs : body.bakeSeconds * 1000,
        bounds: {
          denials: body.maxDenials === undefined ? bounds.denials : body.maxDenials / 100,
          errors: body.maxErrors === undefined ? bounds.errors : body.maxErrors / 100,
        },
      };
      const by = authorOf(request);
      const input = { revision: Number(request.params.revision), by, reason, dryRun: isDry, plan };
      const change = await deps.changes.rollout(input);
      return { ...toChangeOutput(change), ...(isDry === true && { warnings: [] }) };
    },
  );
}
