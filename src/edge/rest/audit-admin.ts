import type { Readable } from 'node:stream';
import { Type } from 'typebox';
import type { Clock } from '../../base/clock.ts';
import type { AuditIndex } from '../../control/ledger/index.ts';
import type { App } from './app.ts';
import { AdminEventSchema, adminFilters, toAdminEvent, toAdminQuery } from './audit-admin-schema.ts';
import { readPageCursor, toPageCursor } from './audit-query.ts';
import { closed, cursor, DEFAULT_LIMIT, limit, nullable, revision } from './schemas.ts';
import type { EventStreams } from './sse.ts';

export interface AdminAuditDeps {
  readonly audit: Pick<AuditIndex, 'searchAdmins' | 'getAdmin' | 'tailAdmins'>;
  readonly clock: Clock;
  readonly streams: EventStreams;
}

/**
 * GET /v1/audit/admin, /v1/audit/admin/{id}, /v1/audit/admin/tail: who did what to the control plane. Beside the
 * record of calls and not mixed with it: other questions, other fields. No id of an event is `tail`.
 */
export function adminAudit(app: App, deps: AdminAuditDeps): void {
  app.get(
    '/v1/audit/admin',
    {
      schema: {
        operationId: 'searchAdminAudit',
        summary: 'Who did what to the control plane, reads and refusals included, newest first.',
        tags: ['audit'],
        querystring: Type.Object({ ...adminFilters, limit, cursor }, closed),
        response: {
          200: Type.Object(
            { items: Type.Array(AdminEventSchema), nextCursor: nullable(Type.String()), revision },
            closed,
          ),
        },
      },
    },
    async (request) => {
      const { limit: most, cursor: given, ...filters } = request.query;
      const from = given === undefined ? undefined : readPageCursor(given);
      const query = toAdminQuery(filters, deps.clock.now(), from?.period);
      const page = await deps.audit.searchAdmins({ ...query, limit: most ?? DEFAULT_LIMIT, cursor: from?.inner });
      const nextCursor = page.nextCursor === null ? null : toPageCursor(query, page.nextCursor);
      return { items: page.items.map(toAdminEvent), nextCursor, revision: page.revision };
    },
  );

  app.get(
    '/v1/audit/admin/:id',
    {
      schema: {
        operationId: 'getAdminAuditEvent',
        summary: 'One administrative event.',
        tags: ['audit'],
        params: Type.Object({ id: Type.String({ minLength: 1, maxLength: 256 }) }, closed),
        querystring: Type.Object({}, closed),
        response: { 200: AdminEventSchema },
      },
    },
    async (request) => toAdminEvent(await deps.audit.getAdmin(request.params.id)),
  );

  app.get(
    '/v1/audit/admin/tail',
    {
      exposeHeadRoute: false,
      schema: {
        operationId: 'tailAdminAudit',
        summary:
          'Administrative events as they are recorded: server-sent events `record` (an administrative event) and `lost` ({count}).',
        tags: ['audit'],
        querystring: Type.Object(adminFilters, closed),
        response: {
          200: {
            description: 'Until the caller or the server ends it.',
            content: { 'text/event-stream': { schema: Type.Unsafe<string | Readable>({ type: 'string' }) } },
          },
        },
      },
    },
    async (request, reply) => {
      const query = toAdminQuery(request.query, deps.clock.now());
      const stream = deps.streams.open(reply.raw, async function* (signal) {
        for await (const item of deps.audit.tailAdmins(query, signal)) {
          yield item.type === 'record'
            ? { event: 'record', id: item.record.id, data: toAdminEvent(item.record) }
            : { event: 'lost', data: { count: item.count } };
        }
      });
      return reply.type('text/event-stream').header('x-accel-buffering', 'no').send(stream);
    },
  );
}
