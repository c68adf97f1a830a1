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
  const { router, pool, limits, random, onFailure } = outbound;
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
  server.on('stream', onStream);
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  server.on('sessionError', (error) => logger.debug({ err: error }, 'an outbound HTTP/2 connection failed'));

  function onStream(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    raw: readonly string[],
  ): void {
    stream.on('error', () => undefined);
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
    const forwarded = forwardedFields(headers);
    forwarded[':authority'] = head.authority;
    forwarded[':scheme'] = 'https';
    if (traceIdOf(head.traceparent) === undefined) forwarded.traceparent = newTraceparent(random).header;
    relayHttp2({
      stream,
      headers: forwarded,
      endStream: (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0,
      trailers: trailersOf(stream),
      grpc: head.grpc,
      connect: () => pool.http2(routed.service, routed.endpoints),
      toApplication: false,
      onFailure,
      done: () => undefined,
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
