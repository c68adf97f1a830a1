import { Type } from 'typebox';
import type { JoinTokens } from '../../control/authority/attest/join-token.ts';
import type { App } from './app.ts';
import { closed, cursor, DEFAULT_LIMIT, empty, id, limit, nullable, time } from './schemas.ts';
import { toTime, toTimeOrNull } from './time.ts';

const IssuedToken = Type.Object(
  {
    id,
    token: Type.String({ description: 'Shown this once; only its hash is kept.' }),
    entryId: id,
    expiresAt: time,
  },
  closed,
);

const JoinToken = Type.Object({ id, entryId: id, createdAt: time, expiresAt: time, usedAt: nullable(time) }, closed);

/** POST, GET /v1/join-tokens; DELETE /v1/join-tokens/{id} */
export function joinTokens(
  app: App,
  deps: { readonly joinTokens: Pick<JoinTokens, 'create' | 'list' | 'delete'> },
): void {
  app.post(
    '/v1/join-tokens',
    {
      schema: {
        operationId: 'createJoinToken',
        summary: 'A token with which one sidecar enrolls once, as the identity of an entry.',
        tags: ['join-tokens'],
        querystring: Type.Object({}, closed),
        body: Type.Object(
          {
            entryId: id,
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
      const { entryId, ttlSeconds } = request.body;
      const issued = await deps.joinTokens.create({ entryId, ...(ttlSeconds !== undefined && { ttlSeconds }) });
      reply.code(201).header('location', `/v1/join-tokens/${issued.id}`);
      return { id: issued.id, token: issued.token, entryId: issued.entryId, expiresAt: toTime(issued.expiresAt) };
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
        response: { 200: Type.Object({ items: Type.Array(JoinToken), nextCursor: nullable(Type.String()) }, closed) },
      },
    },
    async (request) => {
      const page = await deps.joinTokens.list({
        limit: request.query.limit ?? DEFAULT_LIMIT,
        cursor: request.query.cursor,
      });
      return {
        items: page.items.map((token) => ({
          id: token.id,
          entryId: token.entryId,
          createdAt: toTime(token.createdAt),
          expiresAt: toTime(token.expiresAt),
          usedAt: toTimeOrNull(token.usedAt),
        })),
        nextCursor: page.nextCursor,
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
        querystring: Type.Object({}, closed),
        response: { 204: empty },
      },
    },
    async (request, reply) => {
      await deps.joinTokens.delete(request.params.id);
      return reply.code(204).send(undefined);
    },
  );
}
