import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { Entries } from '../../control/authority/entries/entries.ts';
import type { App } from './app.ts';
import { NO_ID, warningsOfReplacing } from './dry-run.ts';
import { EntryBody, EntryOutput, toInput, toOutput } from './entry-schema.ts';
import { authorOf, ofBody } from './entry-write.ts';
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
  unchanged,
} from './schemas.ts';

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
          {
            namespace: Type.Optional(namespaceName),
            spiffeId: Type.Optional(spiffeId),
            parentId: Type.Optional(spiffeId),
            selector: Type.Optional(
              Type.String({ minLength: 1, maxLength: 512, description: 'Those that ask for this selector.' }),
            ),
            labelSelector,
            limit,
            cursor,
          },
          closed,
        ),
        response: {
          200: Type.Object({ items: Type.Array(EntryOutput), nextCursor: nullable(Type.String()), revision }, closed),
        },
      },
    },
    async (request) => {
      const page = await deps.entries.list({ ...request.query, limit: request.query.limit ?? DEFAULT_LIMIT });
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
        body: EntryBody,
        response: { 201: EntryOutput },
      },
    },
    async (request, reply) => {
      const { dryRun: isDry } = request.query;
      const entry = await ofBody(deps.entries.create(toInput(request.body), { ...authorOf(request), dryRun: isDry }));
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
        body: EntryBody,
        response: { 200: EntryOutput },
      },
    },
    async (request, reply) => {
      const ifMatch = requireIfMatch(request.headers['if-match']);
      const { dryRun: isDry } = request.query;
      const input = toInput(request.body);
      const write = { ...authorOf(request), dryRun: isDry };
      const entry = await ofBody(deps.entries.update(request.params.id, input, ifMatch, write));
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
      const entry = await deps.entries.delete(request.params.id, ifMatch, { ...authorOf(request), dryRun: isDry });
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
