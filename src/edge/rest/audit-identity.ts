import type { Readable } from 'node:stream';
import { Type } from 'typebox';
import type { Clock } from '../../base/clock.ts';
import type { AuditIndex } from '../../control/ledger/index.ts';
import type { App } from './app.ts';
import { IdentityEventSchema, identityFilters, toIdentityEvent, toIdentityQuery } from './audit-identity-schema.ts';
import { readPageCursor, toPageCursor } from './audit-query.ts';
import { closed, cursor, DEFAULT_LIMIT, limit, nullable, revision } from './schemas.ts';
import type { EventStreams } from './sse.ts';

export interface IdentityAuditDeps {
  readonly audit: Pick<AuditIndex, 'searchIdentities' | 'getIdentity' | 'tailIdentities'>;
  readonly clock: Clock;
  readonly streams: EventStreams;
}

/**
 * GET /v1/audit/identity, /v1/audit/identity/{id}, /v1/audit/identity/tail: who got which identity. Beside the record of
 * calls and not mixed with it: other questions, other fields. No id of an event is `tail`.
 */
export function identityAudit(app: App, deps: IdentityAuditDeps): void {
  app.get(
    '/v1/audit/identity',
    {
      schema: {
        operationId: 'searchIdentityAudit',
        summary: 'Who got which identity, who was refused, and what was done to keys, nodes and entries, newest first.',
        tags: ['audit'],
        querystring: Type.Object({ ...identityFilters, limit, cursor }, closed),
        response: {
          200: Type.Object(
            { items: Type.Array(IdentityEventSchema), nextCursor: nullable(Type.String()), revision },
            closed,
          ),
        },
      },
    },
    async (request) => {
      const { limit: most, cursor: given, ...filters } = request.query;
      const from = given === undefined ? undefined : readPageCursor(given);
      const query = toIdentityQuery(filters, deps.clock.now(), from?.period);
      const page = await deps.audit.searchIdentities({ ...query, limit: most ?? DEFAULT_LIMIT, cursor: from?.inner });
      const nextCursor = page.nextCursor === null ? null : toPageCursor(query, page.nextCursor);
      return { items: page.items.map(toIdentityEvent), nextCursor, revision: page.revision };
    },
  );

  app.get(
    '/v1/audit/identity/:id',
    {
      schema: {
        operationId: 'getIdentityAuditEvent',
        summary: 'One identity event.',
        tags: ['audit'],
        params: Type.Object({ id: Type.String({ minLength: 1, maxLength: 256 }) }, closed),
        querystring: Type.Object({}, closed),
        response: { 200: IdentityEventSchema },
      },
    },
    async (request) => toIdentityEvent(await deps.audit.getIdentity(request.params.id)),
  );

  app.get(
    '/v1/audit/identity/tail',
    {
      exposeHeadRoute: false,
      schema: {
        operationId: 'tailIdentityAudit',
        summary:
          'Identity events as they are recorded: server-sent events `record` (an identity event) and `lost` ({count}).',
        tags: ['audit'],
        querystring: Type.Object(identityFilters, closed),
        response: {
          200: {
            description: 'Until the caller or the server ends it.',
            content: { 'text/event-stream': { schema: Type.Unsafe<string | Readable>({ type: 'string' }) } },
          },
        },
      },
    },
    async (request, reply) => {
      const query = toIdentityQuery(request.query, deps.clock.now());
      const stream = deps.streams.open(reply.raw, async function* (signal) {
        for await (const item of deps.audit.tailIdentities(query, signal)) {
          yield item.type === 'record'
            ? { event: 'record', id: item.record.id, data: toIdentityEvent(item.record) }
            : { event: 'lost', data: { count: item.count } };
        }
      });
      return reply.type('text/event-stream').header('x-accel-buffering', 'no').send(stream);
    },
  );
}
