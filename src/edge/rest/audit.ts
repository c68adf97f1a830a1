import type { Readable } from 'node:stream';
import { Type } from 'typebox';
import type { Clock } from '../../base/clock.ts';
import type { AuditIndex } from '../../control/ledger/index.ts';
import type { App } from './app.ts';
import { auditFilters, readPageCursor, toAuditQuery, toPageCursor } from './audit-query.ts';
import { AuditEventSchema, toAuditEvent } from './audit-schema.ts';
import { closed, cursor, DEFAULT_LIMIT, limit, nullable, revision } from './schemas.ts';
import type { EventStreams } from './sse.ts';

export interface AuditDeps {
  readonly audit: Pick<AuditIndex, 'search' | 'get' | 'tail'>;
  readonly clock: Clock;
  readonly streams: EventStreams;
}

/** GET /v1/audit/events, /v1/audit/events/{id}, /v1/audit/tail */
export function audit(app: App, deps: AuditDeps): void {
  app.get(
    '/v1/audit/events',
    {
      schema: {
        operationId: 'searchAudit',
        summary: 'Calls on the record, newest first.',
        tags: ['audit'],
        querystring: Type.Object({ ...auditFilters, limit, cursor }, closed),
        response: {
          200: Type.Object(
            { items: Type.Array(AuditEventSchema), nextCursor: nullable(Type.String()), revision },
            closed,
          ),
        },
      },
    },
    async (request) => {
      const { limit: most, cursor: given, ...filters } = request.query;
      const from = given === undefined ? undefined : readPageCursor(given);
      const query = toAuditQuery(filters, deps.clock.now(), from?.period);
      const page = await deps.audit.search({ ...query, limit: most ?? DEFAULT_LIMIT, cursor: from?.inner });
      const nextCursor = page.nextCursor === null ? null : toPageCursor(query, page.nextCursor);
      return { items: page.items.map(toAuditEvent), nextCursor, revision: page.revision };
    },
  );

  app.get(
    '/v1/audit/events/:id',
    {
      schema: {
        operationId: 'getAuditEvent',
        summary: 'One call.',
        tags: ['audit'],
        params: Type.Object({ id: Type.String({ minLength: 1, maxLength: 256 }) }, closed),
        querystring: Type.Object({}, closed),
        response: { 200: AuditEventSchema },
      },
    },
    async (request) => toAuditEvent(await deps.audit.get(request.params.id)),
  );

  app.get(
    '/v1/audit/tail',
    {
      exposeHeadRoute: false,
      schema: {
        operationId: 'tailAudit',
        summary: 'Calls as they are recorded: server-sent events `record` (an audit event) and `lost` ({count}).',
        tags: ['audit'],
        querystring: Type.Object(auditFilters, closed),
        response: {
          200: {
            description: 'Until the caller or the server ends it.',
            content: { 'text/event-stream': { schema: Type.Unsafe<string | Readable>({ type: 'string' }) } },
          },
        },
      },
    },
    async (request, reply) => {
      const query = toAuditQuery(request.query, deps.clock.now());
      const stream = deps.streams.open(reply.raw, async function* (signal) {
        for await (const item of deps.audit.tail(query, signal)) {
          yield item.type === 'record'
            ? { event: 'record', id: item.record.id, data: toAuditEvent(item.record) }
            : { event: 'lost', data: { count: item.count } };
        }
      });
      return reply.type('text/event-stream').header('x-accel-buffering', 'no').send(stream);
    },
  );
}
