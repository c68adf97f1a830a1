import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from '../../base/log.ts';
import type { App } from './app.ts';

/** Logs every admin write when it has been answered, refused ones included: who, what, on what, with what result. */
export function logWrites(app: App, logger: Logger): void {
  app.addHook('onResponse', async (request, reply) => {
    if (request.method === 'GET' || request.method === 'HEAD') return;
    if (request.routeOptions.config.readOnly === true || request.is404) return;
    logger.info(
      {
        event: 'admin.write',
        actor: request.caller,
        method: request.method,
        route: request.routeOptions.url,
        object: objectOf(request, reply),
        dryRun: isDryRun(request.query),
        ifMatch: request.headers['if-match'],
        status: reply.statusCode,
        result: reply.statusCode < 400 ? 'done' : 'refused',
        revision: reply.getHeader('etag'),
        location: reply.getHeader('location'),
        requestId: request.id,
        address: request.ip,
      },
      'admin write',
    );
  });
}

/** What was written: the parts of its path; for what was made, its id, and the entry that a join token is for. Never a token. */
function objectOf(request: FastifyRequest, reply: FastifyReply): Record<string, unknown> {
  const parts = typeof request.params === 'object' && request.params !== null ? { ...request.params } : {};
  if (reply.statusCode !== 201 || request.method !== 'POST') return parts;
  const id = /[^/]+$/.exec(String(reply.getHeader('location') ?? ''))?.[0];
  return { ...parts, ...(id !== undefined && { id }), ...entryOf(request.body) };
}

function entryOf(body: unknown): { readonly entryId?: unknown } {
  return typeof body === 'object' && body !== null && 'entryId' in body ? { entryId: body.entryId } : {};
}

function isDryRun(query: unknown): boolean {
  return typeof query === 'object' && query !== null && 'dryRun' in query && query.dryRun === true;
}
