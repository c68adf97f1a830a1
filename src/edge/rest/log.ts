import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';
import { AppError } from '../../base/errors.ts';
import type { AuditLog } from '../../control/ledger/log/audit-log.ts';
import { parseTilePath } from '../../core/audit/tile.ts';
import type { App } from './app.ts';
import { closed } from './schemas.ts';

export interface LogDeps {
  readonly log: Pick<AuditLog, 'served' | 'tile'>;
  /** Whether anybody may read it without a token. */
  readonly isPublic: boolean;
}

const none = Type.Object({}, closed);
const bytes = Type.Unsafe<Buffer>({ type: 'string', format: 'binary' });
const compress = promisify(gzip);
const YEAR_SECONDS = 31_536_000;

/**
 * GET /log/checkpoint and /log/tile/…: the audit log as the standard for tiled logs has it (c2sp.org/tlog-tiles), for
 * verifiers, mirrors and witnesses of anybody's making. Its prefix is /log.
 *
 * A tile says who ships and how much, never what was called: entries hold hashes and signatures of batches.
 */
export function log(app: App, deps: LogDeps): void {
  const scope = deps.isPublic ? 'public' : 'private';
  const security = deps.isPublic ? { security: [] } : {};

  app.get(
    '/log/checkpoint',
    {
      config: { public: deps.isPublic },
      schema: {
        operationId: 'getLogCheckpoint',
        summary: 'The newest checkpoint of the audit log: a signed note (c2sp.org/tlog-checkpoint).',
        tags: ['log'],
        ...security,
        querystring: none,
        response: { 200: { description: 'The checkpoint.', content: { 'text/plain': { schema: bytes } } } },
      },
    },
    async (_, reply) => {
      reply.type('text/plain; charset=utf-8').header('cache-control', `${scope}, no-cache`);
      return reply.send(deps.log.served.current.note);
    },
  );

  app.get(
    '/log/tile/*',
    {
      config: { public: deps.isPublic },
      schema: {
        operationId: 'getLogTile',
        summary:
          'A tile of the audit log, `<level>/<n>` or `<level>/<n>.p/<width>`, or a bundle of its entries, `entries/<n>`.',
        tags: ['log'],
        ...security,
        querystring: none,
        params: Type.Object({ '*': Type.String({ maxLength: 64 }) }, closed),
        response: { 200: { description: 'The tile.', content: { 'application/octet-stream': { schema: bytes } } } },
      },
    },
    async (request, reply) => {
      const id = parseTilePath(`tile/${request.params['*']}`);
      const tile = id === undefined ? undefined : await deps.log.tile(id);
      if (id === undefined || tile === undefined) {
        // Tomorrow there may be one.
        reply.header('cache-control', 'no-store');
        throw new AppError('not-found', 'The log has no such tile. GET /log/checkpoint says how large it is.');
      }
      reply.type('application/octet-stream').header('cache-control', `${scope}, max-age=${YEAR_SECONDS}, immutable`);
      // Hashes do not shrink.
      return id.level === 'entries'
        ? sendCompressed(request.headers['accept-encoding'], tile, reply)
        : reply.send(tile);
    },
  );
}

async function sendCompressed(accepted: string | undefined, body: Buffer, reply: FastifyReply): Promise<FastifyReply> {
  reply.header('vary', 'accept-encoding');
  if (!acceptsGzip(accepted)) return reply.send(body);
  return reply.header('content-encoding', 'gzip').send(await compress(body));
}

/** RFC 9110 §12.5.3, as far as it concerns us. */
function acceptsGzip(header: string | undefined): boolean {
  const codings = (header ?? '')
    .toLowerCase()
    .slice(0, 256)
    .split(',')
    .map((coding) => coding.trim());
  return codings.some((coding) => /^gzip(\s*;\s*q=(1(\.0+)?|0?\.\d*[1-9]\d*))?$/.test(coding));
}
