import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { constants, createServer } from 'node:http2';
import type { Logger } from '../../base/log.ts';
import { readHttp2Head } from './http2-head.ts';
import type { Outbound } from './outbound.ts';
import type { LocalProtocol } from './outbound-http1.ts';
import { respondProblem } from './problem.ts';
import { forwardedFields, relayHttp2, trailersOf } from './relay-http2.ts';
import { newTraceparent, traceIdOf } from './trace.ts';

/** HTTP/2 with prior knowledge (gRPC above all) from the application, routed by :authority. */
export function outboundHttp2(outbound: Outbound, logger: Logger): LocalProtocol {
  const { router, enforcer, pool, limits, random, onFailure } = outbound;
  const sessions = new Set<Http2Session>();
  const server = createServer({
    settings: {
      maxConcurrentStreams: limits.maxConcurrentStreams,
      maxHeaderListSize: limits.maxHeaderBytes,
      initialWindowSize: 1024 * 1024,
      enableConnectProtocol: false,
    },
    maxHeaderListPairs: limits.maxHeaders,
    maxSessionMemory: 64,
  });
  server.on('stream', (stream, headers, flags, raw) => {
    onStream(stream, headers, flags, raw).catch((error: unknown) => {
      logger.error({ err: error }, 'an outbound call failed');
      if (!stream.destroyed) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  server.on('sessionError', (error) => logger.debug({ err: error }, 'an outbound HTTP/2 connection failed'));

  async function onStream(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    raw: readonly string[],
  ): Promise<void> {
    stream.on('error', () => undefined);
    const trailers = trailersOf(stream);
    const head = readHttp2Head(headers, raw);
    if (head.malformed !== undefined) {
      const detail = `The request is ambiguous: ${head.malformed}.`;
      respondProblem(stream, { status: 400, code: 'invalid', detail }, head.grpc);
      return;
    }
    const routed = router.route(head.authority, 'http');
    if (!routed.ok) {
      respondProblem(stream, routed.problem, head.grpc);
      return;
    }
    const { service, endpoints } = routed;
    const traceId = traceIdOf(head.traceparent);
    const fresh = traceId === undefined ? newTraceparent(random) : undefined;
    const asking = enforcer.admit({
      service,
      endpoints,
      protocol: head.grpc ? 'grpc' : 'http',
      method: head.method,
      host: head.authority,
      target: head.path,
      fields: raw,
      traceId: traceId ?? fresh?.traceId ?? '',
    });
    const verdict = asking instanceof Promise ? await asking : asking;
    if (!verdict.admitted) {
      const bytesOut = respondProblem(stream, verdict.problem, head.grpc);
      enforcer.complete(verdict, { status: verdict.problem.status, bytesIn: 0, bytesOut });
      return;
    }
    // Of the codes there are, the one that gRPC reads as PERMISSION_DENIED.
    verdict.onCut(() => stream.close(constants.NGHTTP2_INADEQUATE_SECURITY));
    const forwarded = forwardedFields(headers);
    forwarded[':path'] = verdict.target;
    forwarded[':authority'] = head.authority;
    forwarded[':scheme'] = 'https';
    if (fresh !== undefined) forwarded.traceparent = fresh.header;
    relayHttp2({
      stream,
      headers: forwarded,
      endStream: (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0,
      trailers,
      grpc: head.grpc,
      connect: () => pool.http2(service, verdict.endpoints),
      toApplication: false,
      onFailure,
      done: (outcome) => enforcer.complete(verdict, outcome),
    });
  }

  return {
    serve(socket) {
      server.emit('connection', socket);
    },
    drain() {
      for (const session of sessions) session.close();
    },
  };
}
