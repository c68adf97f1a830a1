import type { Static } from 'typebox';
import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type {
  CreatedJoinToken,
  JoinTokens,
  JoinToken as StoredToken,
} from '../../control/authority/attest/join-token.ts';
import type { App } from './app.ts';
import { NO_ID, warnings } from './dry-run.ts';
import type { Answer, IdempotencyPort } from './idempotency.ts';
import { idempotencyKey, onceForKey } from './idempotency.ts';
import { closed, cursor, DEFAULT_LIMIT, dryRun, empty, id, limit, nullable, revision, time } from './schemas.ts';
import { toTime, toTimeOrNull } from './time.ts';

const IssuedToken = Type.Object(
  {
    id,
    token: nullable(
      Type.String({ description: 'Shown in this answer only; its hash is kept. null in a dry run, which makes none.' }),
    ),
    entryId: nullable(id),
    expiresAt: time,
    warnings,
  },
  closed,
);

const JoinToken = Type.Object(
  { id, entryId: nullable(id), createdAt: time, expiresAt: time, usedAt: nullable(time), warnings },
  closed,
);

/** POST, GET /v1/join-tokens; DELETE /v1/join-tokens/{id} */
export function joinTokens(
  app: App,
  deps: {
    readonly joinTokens: Pick<JoinTokens, 'create' | 'list' | 'delete'>;
    readonly idempotency: IdempotencyPort;
  },
): void {
  app.post(
    '/v1/join-tokens',
    {
      schema: {
        operationId: 'createJoinToken',
        summary: 'A token with which one node attests once: a sidecar as the identity of an entry, or an agent.',
        tags: ['join-tokens'],
        querystring: Type.Object({ dryRun }, closed),
        headers: idempotencyKey,
        body: Type.Object(
          {
            entryId: Type.Optional(id),
            agent: Type.Optional(
              Type.Boolean({
                default: false,
                description:
                  'For an agent, instead of an entry: its SPIFFE ID ends in /writ/agent/join_token/<id of the token>.',
              }),
            ),
            ttlSeconds: Type.Optional(
              Type.Integer({ minimum: 1, maximum: 86_400, default: 600, description: 'Seconds it can be used.' }),
            ),
          },
          closed,
        ),
        response: { 201: IssuedToken },
      },
    },
    async (request, reply) => {
      const input = { entryId: entryOf(request.body), ttlSeconds: request.body.ttlSeconds };
      if (request.query.dryRun === true) {
        const would = await deps.joinTokens.create(input, { dryRun: true });
        return reply.code(201).send({ ...toIssued(would), id: NO_ID, token: null, warnings: [] });
      }
      return await onceForKey(deps.idempotency, request, reply, {
        run: (alongside) => deps.joinTokens.create(input, { alongside }),
        toAnswer: toCreated,
      });
    },
  );

  app.get(
    '/v1/join-tokens',
    {
      schema: {
        operationId: 'listJoinTokens',
        summary: 'Join tokens, without the tokens themselves.',
        tags: ['join-tokens'],
        querystring: Type.Object({ limit, cursor }, closed),
        response: {
          200: Type.Object({ items: Type.Array(JoinToken), nextCursor: nullable(Type.String()), revision }, closed),
        },
      },
    },
    async (request) => {
      const page = await deps.joinTokens.list({
        limit: request.query.limit ?? DEFAULT_LIMIT,
        cursor: request.query.cursor,
      });
      return {
        items: page.items.map(toOutput),
        nextCursor: page.nextCursor,
        revision: page.revision,
      };
    },
  );

  app.delete(
    '/v1/join-tokens/:id',
    {
      schema: {
        operationId: 'deleteJoinToken',
        summary: 'Withdraw a join token.',
        tags: ['join-tokens'],
        params: Type.Object({ id }, closed),
        querystring: Type.Object({ dryRun }, closed),
        response: { 200: { ...JoinToken, description: 'Dry run: what would go.' }, 204: empty },
      },
    },
    async (request, reply) => {
      const { dryRun: isDry } = request.query;
      const deleted = await deps.joinTokens.delete(request.params.id, { dryRun: isDry });
      if (isDry === true) return reply.code(200).send({ ...toOutput(deleted), warnings: [] });
      return reply.code(204).send(undefined);
    },
  );
}

/** null for an agent. */
function entryOf(body: { readonly entryId?: string; readonly agent?: boolean }): string | null {
  if ((body.entryId === undefined) !== (body.agent === true)) {
    throw new AppError('invalid', 'A join token is for an entry or for an agent: give either entryId, or agent: true.');
  }
  return body.entryId ?? null;
}

function toCreated(made: CreatedJoinToken): Answer<Static<typeof IssuedToken>> {
  return { status: 201, headers: { location: `/v1/join-tokens/${made.id}` }, body: toIssued(made) };
}

function toIssued(made: CreatedJoinToken) {
  return { id: made.id, token: made.token, entryId: made.entryId, expiresAt: toTime(made.expiresAt) };
}

function toOutput(token: StoredToken) {
  return {
    id: token.id,
    entryId: token.entryId,
    createdAt: toTime(token.createdAt),
    expiresAt: toTime(token.expiresAt),
    usedAt: toTimeOrNull(token.usedAt),
  };
}
