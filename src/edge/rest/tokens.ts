import { Type } from 'typebox';
import type { CreatedToken, NamedToken, NamedTokens } from '../../control/access/named-tokens.ts';
import { roles } from '../../core/identity/roles.ts';
import type { App } from './app.ts';
import { authorOf } from './change.ts';
import { NO_ID, warnings } from './dry-run.ts';
import type { IdempotencyPort } from './idempotency.ts';
import { idempotencyKey, onceForKey } from './idempotency.ts';
import { closed, cursor, DEFAULT_LIMIT, dryRun, empty, id, limit, nullable, oneOf, revision, time } from './schemas.ts';
import { toTime, toTimeOrNull } from './time.ts';

const role = oneOf(roles, { description: 'What its holder may do; GET /v1/whoami says it in full.' });

const Token = Type.Object(
  {
    id,
    name: Type.String({ description: 'The author of what is done with it.' }),
    role,
    createdAt: time,
    expiresAt: time,
    lastUsedAt: nullable(time),
    warnings,
  },
  closed,
);
const IssuedToken = Type.Object(
  {
    id,
    name: Type.String(),
    role,
    token: nullable(
      Type.String({ description: 'Shown in this answer only; its hash is kept. null in a dry run, which makes none.' }),
    ),
    expiresAt: time,
    warnings,
  },
  closed,
);

/** POST, GET /v1/tokens; DELETE /v1/tokens/{id} */
export function tokens(
  app: App,
  deps: {
    readonly namedTokens: Pick<NamedTokens, 'create' | 'list' | 'revoke'>;
    readonly idempotency: IdempotencyPort;
  },
): void {
  app.post(
    '/v1/tokens',
    {
      schema: {
        operationId: 'createToken',
        summary: 'A token for an administrator of that name. Only the admin token of the data directory may make one.',
        tags: ['tokens'],
        querystring: Type.Object({ dryRun }, closed),
        headers: idempotencyKey,
        body: Type.Object(
          {
            name: Type.String({
              pattern: '^[a-z0-9]([-a-z0-9._@]{0,61}[a-z0-9])?$',
              description: 'Who holds it. Not `admin`.',
            }),
            ttlSeconds: Type.Integer({
              minimum: 60,
              maximum: 7_776_000,
              description: 'Seconds it can be used: at most 90 days.',
            }),
            role: Type.Optional(oneOf(roles, { description: 'Default `admin`.' })),
          },
          closed,
        ),
        response: { 201: IssuedToken },
      },
    },
    async (request, reply) => {
      const { name, role: wanted, ttlSeconds } = request.body;
      const input = { name, role: wanted, ttlSeconds, by: authorOf(request) };
      if (request.query.dryRun === true) {
        const would = await deps.namedTokens.create(input, { dryRun: true });
        return reply.code(201).send({ ...toIssued(would), id: NO_ID, token: null, warnings: [] });
      }
      return await onceForKey(deps.idempotency, request, reply, {
        run: (alongside) => deps.namedTokens.create(input, { alongside }),
        toAnswer: (made: CreatedToken) => ({
          status: 201,
          headers: { location: `/v1/tokens/${made.id}` },
          body: toIssued(made),
        }),
      });
    },
  );

  app.get(
    '/v1/tokens',
    {
      schema: {
        operationId: 'listTokens',
        summary: 'Tokens of administrators, without the tokens themselves.',
        tags: ['tokens'],
        querystring: Type.Object({ limit, cursor }, closed),
        response: {
          200: Type.Object({ items: Type.Array(Token), nextCursor: nullable(Type.String()), revision }, closed),
        },
      },
    },
    async (request) => {
      const { limit: most, cursor: from } = request.query;
      const page = await deps.namedTokens.list({ limit: most ?? DEFAULT_LIMIT, cursor: from });
      return { items: page.items.map(toOutput), nextCursor: page.nextCursor, revision: page.revision };
    },
  );

  app.delete(
    '/v1/tokens/:id',
    {
      schema: {
        operationId: 'revokeToken',
        summary: 'Revoke a token: it is worth nothing from then on.',
        tags: ['tokens'],
        params: Type.Object({ id }, closed),
        querystring: Type.Object({ dryRun }, closed),
        response: { 200: { ...Token, description: 'Dry run: what would go.' }, 204: empty },
      },
    },
    async (request, reply) => {
      const { dryRun: isDry } = request.query;
      const revoked = await deps.namedTokens.revoke(request.params.id, authorOf(request), { dryRun: isDry });
      if (isDry === true) return reply.code(200).send({ ...toOutput(revoked), warnings: [] });
      return reply.code(204).send(undefined);
    },
  );
}

function toIssued(made: CreatedToken) {
  return {
    id: made.id,
    name: made.name,
    role: made.role,
    token: made.token,
    expiresAt: toTime(made.expiresAt),
  };
}

function toOutput(token: NamedToken) {
  return {
    id: token.id,
    name: token.name,
    role: token.role,
    createdAt: toTime(token.createdAt),
    expiresAt: toTime(token.expiresAt),
    lastUsedAt: toTimeOrNull(token.lastUsedAt),
  };
}
