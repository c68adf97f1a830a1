import type { Static } from 'typebox';
import { Type } from 'typebox';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { FullRevision, PolicyHistory, PolicyRevision, RevisionFilter } from '../../control/policies/history.ts';
import type { PolicyStore } from '../../control/policies/store.ts';
import { policyKindNames, policyKinds } from '../../core/policy/kinds.ts';
import type { App } from './app.ts';
import { readPageCursor, timeOf, toPageCursor, when } from './audit-query.ts';
import { authorOf, ifMatchRequired, reasonText } from './change.ts';
import { warningsOfReplacing } from './dry-run.ts';
import { readIfMatch, toEtag } from './etag.ts';
import type { Envelope } from './policy-document.ts';
import { toEnvelope } from './policy-document.ts';
import type { KindFace } from './policy-kinds.ts';
import { kindFaces, objectParams } from './policy-kinds.ts';
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

const revisionFields = {
  revision,
  kind: oneOf(policyKindNames),
  namespace: namespaceName,
  name: objectName,
  operation: oneOf(['put', 'delete']),
  author: Type.String({ description: 'Who asked for it: the name of the token.' }),
  reason: nullable(Type.String({ description: 'As given with the change, else `spec.reason` of a policy.' })),
  time,
  restores: nullable(Type.Integer({ description: 'Of a roll-back: the revision whose content it has again.' })),
  previous: nullable(Type.Integer({ description: 'The revision of the same object before it.' })),
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

/** GET /v1/revisions; for every kind, below /v1/<kind>/{namespace}/{name}: GET /revisions, GET /revisions/{revision}, POST :rollback */
export function policyRevisions(app: App, deps: PolicyRevisionsDeps): void {
  app.get(
    '/v1/revisions',
    {
      schema: {
        operationId: 'listRevisions',
        summary: 'Every change of every policy, and of every other kind: who, when, why.',
        tags: ['policies'],
        querystring: Type.Object(
          {
            kind: Type.Optional(oneOf(policyKindNames, { description: 'Only of this kind.' })),
            namespace: Type.Optional(namespaceName),
            ...filters,
            limit,
            cursor,
          },
          closed,
        ),
        response: { 200: Revisions },
      },
    },
    (request) => listRevisions(deps, request.query, { kind: request.query.kind, namespace: request.query.namespace }),
  );
  for (const face of kindFaces) {
    revisionsOf(app, face, deps);
    rollback(app, face, deps);
  }
}

function revisionsOf(app: App, { kind, path, tag, one, operation }: KindFace, deps: PolicyRevisionsDeps): void {
  app.get(
    `${path}/:namespace/:name/revisions`,
    {
      schema: {
        operationId: `list${operation}Revisions`,
        summary: `Every change of one ${one}, also of one that is deleted.`,
        tags: [tag],
        params: objectParams,
        querystring: Type.Object({ ...filters, limit, cursor }, closed),
        response: { 200: Revisions },
      },
    },
    (request) => listRevisions(deps, request.query, { kind, ...request.params }),
  );

  app.get(
    `${path}/:namespace/:name/revisions/:revision`,
    {
      schema: {
        operationId: `get${operation}Revision`,
        summary: `One change of a ${one}: its text as of then, and what was different before.`,
        tags: [tag],
        params: oneRevision,
        querystring: Type.Object({}, closed),
        response: { 200: FullRevisionOutput },
      },
    },
    async (request) => {
      const { namespace, name, revision: number } = request.params;
      return toFull(await deps.history.get({ kind, namespace, name }, Number(number)));
    },
  );
}

function rollback(app: App, { kind, path, tag, one, operation, envelope }: KindFace, deps: PolicyRevisionsDeps): void {
  app.post(
    `${path}/:namespace/:name([^/:]+)::rollback`,
    {
      schema: {
        operationId: `rollBack${operation}`,
        summary: `Give a ${one} the content of an earlier revision, as a new revision. Also brings back a deleted one.`,
        tags: [tag],
        params: objectParams,
        querystring: Type.Object({ dryRun }, closed),
        headers: preconditions,
        body: Type.Object(
          {
            revision: Type.Integer({ minimum: 1, description: `The revision of this ${one} to go back to.` }),
            reason: reasonText,
          },
          closed,
        ),
        response: { 200: envelope, 201: envelope },
      },
    },
    async (request, reply): Promise<Envelope> => {
      const ifMatch = readIfMatch(request.headers['if-match']);
      if (ifMatch === undefined) throw ifMatchRequired();
      const { revision: to, reason } = request.body;
      const { dryRun: isDry } = request.query;
      const change = { kind, ...request.params, to, reason, author: authorOf(request), ifMatch, dryRun: isDry };
      const { policy, created } = await deps.policies.rollBack(change);
      reply.code(created ? 201 : 200);
      if (isDry === true) {
        return reply.send({ ...toEnvelope(policy), warnings: warningsOfReplacing(policy.revision) });
      }
      reply.header('etag', toEtag(policy.revision));
      if (created) reply.header('location', `${path}/${policy.namespace}/${policy.name}`);
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
  of: Pick<RevisionFilter, 'kind' | 'namespace' | 'name'>,
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

/** An empty history is one that filters made empty; of an object that never was, there is none. */
async function mustExist(
  deps: PolicyRevisionsDeps,
  of: Pick<RevisionFilter, 'kind' | 'namespace' | 'name'>,
): Promise<void> {
  const { items } = await deps.history.list({ ...of, limit: 1 });
  if (items.length > 0) return;
  const { noun } = policyKinds[of.kind ?? 'AuthorizationPolicy'];
  throw new AppError('not-found', `There has never been a ${noun} ${of.namespace}/${of.name}.`);
}

function toOutput(one: PolicyRevision): Static<typeof Revision> {
  return { ...fieldsOf(one), time: toTime(one.time) };
}

function toFull(one: FullRevision): Static<typeof FullRevisionOutput> {
  return { ...fieldsOf(one), time: toTime(one.time), source: one.source, diff: one.diff };
}

function fieldsOf(one: PolicyRevision) {
  const { revision: number, kind, namespace, name, operation, author, reason, restores, previous } = one;
  return { revision: number, kind, namespace, name, operation, author, reason, restores, previous };
}
