import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { FullRevision, PolicyHistory, PolicyRevision, RevisionFilter } from '../../control/policies/history.ts';
import type { PolicyStore } from '../../control/policies/store.ts';
import type { App } from './app.ts';
import { readPageCursor, timeOf, toPageCursor, when } from './audit-query.ts';
import { authorOf, ifMatchRequired, reasonText } from './change.ts';
import { warningsOfReplacing } from './dry-run.ts';
import { readIfMatch, toEtag } from './etag.ts';
import { PolicyEnvelope, toEnvelope } from './policy-document.ts';
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
  preconditions,
  revision,
  time,
} from './schemas.ts';
import { toTime } from './time.ts';

const KIND = 'AuthorizationPolicy' as const;

const revisionFields = {
  revision,
  namespace: namespaceName,
  name: objectName,
  operation: oneOf(['put', 'delete']),
  author: Type.String({ description: 'Who asked for it: the name of the token.' }),
  reason: nullable(Type.String({ description: 'As given with the change, else `spec.reason` of the policy.' })),
  time,
  restores: nullable(Type.Integer({ description: 'Of a roll-back: the revision whose content it has again.' })),
  previous: nullable(Type.Integer({ description: 'The revision of the same policy before it.' })),
};

const Revision = Type.Object(revisionFields, closed);
const FullRevisionOutput = Type.Object(
  {
    ...revisionFields,
    source: nullable(Type.String({ description: 'The text byte for byte; null for a deletion.' })),
    diff: Type.String({ description: 'What it changed, as a unified diff.' }),
  },
  closed,
);
const Revisions = Type.Object(
  { items: Type.Array(Revision), nextCursor: nullable(Type.String()), revision },
  { ...closed, description: 'Newest first.' },
);

const params = Type.Object({ namespace: namespaceName, name: objectName }, closed);
const oneRevision = Type.Object(
  {
    namespace: namespaceName,
    name: objectName,
    revision: Type.String({ pattern: '^[1-9][0-9]{0,14}$', description: 'Number of the revision.' }),
  },
  closed,
);
const filters = {
  author: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'Exactly this one.' })),
  since: when('At or after'),
  until: when('Before'),
};

export interface PolicyRevisionsDeps {
  readonly policies: Pick<PolicyStore, 'rollBack' | 'current'>;
  readonly history: Pick<PolicyHistory, 'list' | 'get'>;
  readonly clock: Clock;
}

/** GET /v1/revisions; below /v1/policies/{namespace}/{name}: GET /revisions, GET /revisions/{revision}, POST :rollback */
export function policyRevisions(app: App, deps: PolicyRevisionsDeps): void {
  app.get(
    '/v1/revisions',
    {
      schema: {
        operationId: 'listRevisions',
        summary: 'Every change of every policy: who, when, why.',
        tags: ['policies'],
        querystring: Type.Object({ namespace: Type.Optional(namespaceName), ...filters, limit, cursor }, closed),
        response: { 200: Revisions },
      },
    },
    (request) => listRevisions(deps, request.query, { namespace: request.query.namespace }),
  );

  app.get(
    '/v1/policies/:namespace/:name/revisions',
    {
      schema: {
        operationId: 'listPolicyRevisions',
        summary: 'Every change of one policy, also of one that is deleted.',
        tags: ['policies'],
        params,
        querystring: Type.Object({ ...filters, limit, cursor }, closed),
        response: { 200: Revisions },
      },
    },
    (request) => listRevisions(deps, request.query, request.params),
  );

  app.get(
    '/v1/policies/:namespace/:name/revisions/:revision',
    {
      schema: {
        operationId: 'getPolicyRevision',
        summary: 'One change of a policy: its text as of then, and what was different before.',
        tags: ['policies'],
        params: oneRevision,
        querystring: Type.Object({}, closed),
        response: { 200: FullRevisionOutput },
      },
    },
    async (request) => {
      const { namespace, name, revision: number } = request.params;
      return toFull(await deps.history.get({ kind: KIND, namespace, name }, Number(number)));
    },
  );

  rollback(app, deps);
}

function rollback(app: App, deps: PolicyRevisionsDeps): void {
  app.post(
    '/v1/policies/:namespace/:name([^/:]+)::rollback',
    {
      schema: {
        operationId: 'rollBackPolicy',
        summary: 'Give a policy the content of an earlier revision, as a new revision. Also brings back a deleted one.',
        tags: ['policies'],
        params,
        querystring: Type.Object({ dryRun }, closed),
        headers: preconditions,
        body: Type.Object(
          {
            revision: Type.Integer({ minimum: 1, description: 'The revision of this policy to go back to.' }),
            reason: reasonText,
          },
          closed,
        ),
        response: { 200: PolicyEnvelope, 201: PolicyEnvelope },
      },
    },
    async (request, reply) => {
      const ifMatch = readIfMatch(request.headers['if-match']);
      if (ifMatch === undefined) throw ifMatchRequired();
      const { revision: to, reason } = request.body;
      const { dryRun: isDry } = request.query;
      const change = { kind: KIND, ...request.params, to, reason, author: authorOf(request), ifMatch, dryRun: isDry };
      const { policy, created } = await deps.policies.rollBack(change);
      reply.code(created ? 201 : 200);
      if (isDry === true) return { ...toEnvelope(policy), warnings: warningsOfReplacing(policy.revision) };
      reply.header('etag', toEtag(policy.revision));
      if (created) reply.header('location', `/v1/policies/${policy.namespace}/${policy.name}`);
      return toEnvelope(policy);
    },
  );
}

interface ListQuery {
  readonly author?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

async function listRevisions(
  deps: PolicyRevisionsDeps,
  query: ListQuery,
  of: { readonly namespace?: string | undefined; readonly name?: string | undefined },
): Promise<Static<typeof Revisions>> {
  // Read before the rows, which are at least as new.
  const { revision: seen } = deps.policies.current.current;
  const now = deps.clock.now();
  const before = query.cursor === undefined ? undefined : readPageCursor(query.cursor);
  const period = {
    since: query.since === undefined ? undefined : timeOf(query.since, 'since', now, before?.period.since),
    until: query.until === undefined ? undefined : timeOf(query.until, 'until', now, before?.period.until),
  };
  const filter: RevisionFilter = {
    ...of,
    ...period,
    author: query.author,
    limit: query.limit ?? DEFAULT_LIMIT,
    cursor: before?.inner,
  };
  const { items, nextCursor } = await deps.history.list(filter);
  if (items.length === 0 && of.name !== undefined && query.cursor === undefined) await mustExist(deps, of);
  return {
    items: items.map(toOutput),
    nextCursor: nextCursor === null ? null : toPageCursor(period, nextCursor),
    revision: seen,
  };
}

/** An empty history is one that filters made empty; of a policy that never was, there is none. */
async function mustExist(
  deps: PolicyRevisionsDeps,
  { namespace, name }: { readonly namespace?: string | undefined; readonly name?: string | undefined },
): Promise<void> {
  const { items } = await deps.history.list({ namespace, name, limit: 1 });
  if (items.length === 0) throw new AppError('not-found', `There has never been a policy ${namespace}/${name}.`);
}

function toOutput(one: PolicyRevision): Static<typeof Revision> {
  return { ...fieldsOf(one), time: toTime(one.time) };
}

function toFull(one: FullRevision): Static<typeof FullRevisionOutput> {
  return { ...fieldsOf(one), time: toTime(one.time), source: one.source, diff: one.diff };
}

function fieldsOf(one: PolicyRevision) {
  const { revision: number, namespace, name, operation, author, reason, restores, previous } = one;
  return { revision: number, namespace, name, operation, author, reason, restores, previous };
}
