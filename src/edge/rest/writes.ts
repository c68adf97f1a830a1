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
        object: request.params,
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

function isDryRun(query: unknown): boolean {
  return typeof query === 'object' && query !== null && 'dryRun' in query && query.dryRun === true;
}
