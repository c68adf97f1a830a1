import type { Static } from 'typebox';
import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { Entries, Entry } from '../../control/authority/entries.ts';
import type { App } from './app.ts';
import { NO_ID, warnings, warningsOfReplacing } from './dry-run.ts';
import { isUnchanged, readIfMatch, toEtag } from './etag.ts';
import {
  closed,
  cursor,
  DEFAULT_LIMIT,
  dryRun,
  empty,
  id,
  labelSelector,
  limit,
  namespaceName,
  nullable,
  preconditions,
  revision,
  spiffeId,
  time,
  unchanged,
} from './schemas.ts';
import { toTime } from './time.ts';

const seconds = (minimum: number, maximum: number, what: string) =>
  Type.Unsafe<number | null>({
    type: ['integer', 'null'],
    minimum,
    maximum,
    description: `Lifetime of its ${what} in seconds; null for the default.`,
  });

const EntryInput = Type.Object(
  {
    spiffeId,
    selectors: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 512 }), { maxItems: 64, uniqueItems: true }),
    ),
    labels: Type.Optional(
      Type.Record(Type.String({ minLength: 1, maxLength: 317 }), Type.String({ maxLength: 63 }), {
        maxProperties: 64,
        description: 'What policy selectors match.',
      }),
    ),
    x509TtlSeconds: Type.Optional(seconds(60, 86_400, 'certificates')),
    jwtTtlSeconds: Type.Optional(seconds(30, 3_600, 'JWTs')),
  },
  closed,
);

const EntryOutput = Type.Object(
  {
    id,
    spiffeId,
    selectors: Type.Array(Type.String()),
    labels: Type.Record(Type.String(), Type.String()),
    x509TtlSeconds: nullable(Type.Integer()),
    jwtTtlSeconds: nullable(Type.Integer()),
    revision,
    createdAt: time,
    updatedAt: time,
    warnings,
  },
  closed,
);

const params = Type.Object({ id }, closed);
const none = Type.Object({}, closed);
const ofWrite = Type.Object({ dryRun }, closed);

export type EntriesPort = Pick<Entries, 'create' | 'update' | 'get' | 'list' | 'delete'>;

/** GET, POST /v1/entries; GET, PUT, DELETE /v1/entries/{id} */
export function entries(app: App, deps: { readonly entries: EntriesPort }): void {
  app.get(
    '/v1/entries',
    {
      schema: {
        operationId: 'listEntries',
        summary: 'Who may have which identity.',
        tags: ['entries'],
        querystring: Type.Object(
          { namespace: Type.Optional(namespaceName), spiffeId: Type.Optional(spiffeId), labelSelector, limit, cursor },
          closed,
        ),
        response: {
          200: Type.Object({ items: Type.Array(EntryOutput), nextCursor: nullable(Type.String()), revision }, closed),
        },
      },
    },
    async (request) => {
      const { namespace, spiffeId: wanted, labelSelector: selector, limit: most, cursor: from } = request.query;
      const page = await deps.entries.list({
        limit: most ?? DEFAULT_LIMIT,
        ...(from !== undefined && { cursor: from }),
        ...(namespace !== undefined && { namespace }),
        ...(wanted !== undefined && { spiffeId: wanted }),
        ...(selector !== undefined && { labelSelector: selector }),
      });
      return { items: page.items.map(toOutput), nextCursor: page.nextCursor, revision: page.revision };
    },
  );

  app.post(
    '/v1/entries',
    {
      schema: {
        operationId: 'createEntry',
        summary: 'Register an identity.',
        tags: ['entries'],
        querystring: ofWrite,
        body: EntryInput,
        response: { 201: EntryOutput },
      },
    },
    async (request, reply) => {
      const { dryRun: isDry } = request.query;
      const entry = await ofBody(deps.entries.create(toInput(request.body), { dryRun: isDry }));
      if (isDry === true) return reply.code(201).send({ ...toOutput(entry), id: NO_ID, warnings: [] });
      reply.code(201).header('location', `/v1/entries/${entry.id}`).header('etag', toEtag(entry.revision));
      return toOutput(entry);
    },
  );

  app.get(
    '/v1/entries/:id',
    {
      schema: {
        operationId: 'getEntry',
        summary: 'One entry.',
        tags: ['entries'],
        params,
        querystring: none,
        response: { 200: EntryOutput, 304: unchanged },
      },
    },
    async (request, reply) => {
      const entry = await deps.entries.get(request.params.id);
      reply.header('etag', toEtag(entry.revision));
      if (isUnchanged(request.headers['if-none-match'], entry.revision)) return reply.code(304).send(undefined);
      return toOutput(entry);
    },
  );

  app.put(
    '/v1/entries/:id',
    {
      schema: {
        operationId: 'replaceEntry',
        summary: 'Replace an entry.',
        tags: ['entries'],
        params,
        querystring: ofWrite,
        headers: preconditions,
        body: EntryInput,
        response: { 200: EntryOutput },
      },
    },
    async (request, reply) => {
      const ifMatch = requireIfMatch(request.headers['if-match']);
      const { dryRun: isDry } = request.query;
      const input = toInput(request.body);
      const entry = await ofBody(deps.entries.update(request.params.id, input, ifMatch, { dryRun: isDry }));
      if (isDry === true) return { ...toOutput(entry), warnings: warningsOfReplacing(entry.revision) };
      reply.header('etag', toEtag(entry.revision));
      return toOutput(entry);
    },
  );

  app.delete(
    '/v1/entries/:id',
    {
      schema: {
        operationId: 'deleteEntry',
        summary: 'Withdraw an entry: its workload gets no further certificate.',
        tags: ['entries'],
        params,
        querystring: ofWrite,
        headers: preconditions,
        response: { 200: { ...EntryOutput, description: 'Dry run: what would go.' }, 204: empty },
      },
    },
    async (request, reply) => {
      const { dryRun: isDry } = request.query;
      const ifMatch = requireIfMatch(request.headers['if-match']);
      const entry = await deps.entries.delete(request.params.id, ifMatch, { dryRun: isDry });
      if (isDry === true) return reply.code(200).send({ ...toOutput(entry), warnings: [identityEnds] });
      return reply.code(204).send(undefined);
    },
  );
}

const identityEnds = {
  code: 'identity-ends',
  detail:
    'Its workload gets no further certificate or token, and its join tokens are worth nothing. Certificates that are out ' +
    'stay valid until they expire.',
};

function requireIfMatch(header: string | undefined): number | '*' {
  const ifMatch = readIfMatch(header);
  if (ifMatch === undefined)
    throw new AppError(
      'precondition-required',
      'This needs the header If-Match with the revision that you read (its ETag), or *.',
    );
  return ifMatch;
}

/** What control finds wrong in a body is a finding in that body, like those of the schema. */
async function ofBody<T>(write: Promise<T>): Promise<T> {
  try {
    return await write;
  } catch (error) {
    if (error instanceof AppError && error.code === 'invalid' && error.details.length > 0)
      throw new AppError('invalid-document', error.message, { cause: error, details: error.details });
    throw error;
  }
}

function toInput(body: Static<typeof EntryInput>) {
  return {
    spiffeId: body.spiffeId,
    selectors: body.selectors ?? [],
    labels: body.labels ?? {},
    x509TtlSeconds: body.x509TtlSeconds ?? null,
    jwtTtlSeconds: body.jwtTtlSeconds ?? null,
  };
}

function toOutput(entry: Entry): Static<typeof EntryOutput> {
  return {
    id: entry.id,
    spiffeId: entry.spiffeId,
    selectors: [...entry.selectors],
    labels: { ...entry.labels },
    x509TtlSeconds: entry.x509TtlSeconds,
    jwtTtlSeconds: entry.jwtTtlSeconds,
    revision: entry.revision,
    createdAt: toTime(entry.createdAt),
    updatedAt: toTime(entry.updatedAt),
  };
}
