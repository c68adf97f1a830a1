import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { constants, createServer } from 'node:http2';
import { AppError } from '../../base/errors.ts';
import type { Caller } from './caller.ts';
import { changeHeaders } from './checks/request-changes.ts';
import { readHttp2Head } from './http2-head.ts';
import type { Inbound, Protocol } from './inbound.ts';
import type { Problem } from './problem.ts';
import { respondProblem } from './problem.ts';
import { forwardedFields, relayHttp2, safeTrailers, trailersOf } from './relay-http2.ts';
import { newTraceparent, traceIdOf } from './trace.ts';

/** HTTP/2 and gRPC from other sidecars: each stream is one call. */
export function inboundHttp2(inbound: Inbound): Protocol {
  const { application, enforcer, limits, clock, logger, random } = inbound;
  const callers = new WeakMap<Http2Session, Caller>();
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
      logger.error({ err: error }, 'an inbound call failed');
      if (!stream.destroyed) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
  });
  server.on('sessionError', (error) => logger.debug({ err: error }, 'an inbound HTTP/2 connection failed'));

  async function onStream(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    raw: readonly string[],
  ): Promise<void> {
    stream.on('error', () => undefined);
    const trailers = trailersOf(stream);
    const caller = stream.session === undefined ? undefined : callers.get(stream.session);
    if (caller === undefined) return stream.close(constants.NGHTTP2_REFUSED_STREAM);
    if (!caller.isValid()) {
      // Not looked at: the caller may repeat it on a new connection.
      stream.session?.close();
      return stream.close(constants.NGHTTP2_REFUSED_STREAM);
    }
    const head = readHttp2Head(headers, raw);
    const traceId = traceIdOf(head.traceparent);
    const fresh = traceId === undefined ? newTraceparent(random) : undefined;
    const verdict = await enforcer.admit({
      peer: caller.peer,
      port: application.port,
      protocol: head.grpc ? 'grpc' : 'http',
      method: head.method,
      host: head.authority,
      target: head.path,
      traceId: traceId ?? fresh?.traceId ?? '',
      authorization: head.authorization,
      fields: raw,
      connection: caller.connection,
      malformed: head.malformed,
    });
    if (!verdict.admitted) {
      const bytesOut = respondProblem(stream, verdict.problem, head.grpc);
      return enforcer.complete(verdict, { status: verdict.problem.status, bytesIn: 0, bytesOut });
    }
    // Of the codes there are, the one that gRPC reads as PERMISSION_DENIED.
    verdict.onCut(() => stream.close(constants.NGHTTP2_INADEQUATE_SECURITY));
    const forwarded = forwardedFields(headers);
    changeHeaders(forwarded, verdict.changes);
    forwarded[':path'] = verdict.target;
    forwarded[':authority'] = head.authority;
    forwarded[':scheme'] = 'http';
    const [name, value] = caller.clientCert;
    if (name !== undefined) forwarded[name] = value;
    if (fresh !== undefined) forwarded.traceparent = fresh.header;
    relayHttp2({
      stream,
      headers: forwarded,
      endStream: (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0,
      trailers: () => safeTrailers(trailers(), verdict.changes?.withheld),
      grpc: head.grpc,
      connect: () => application.http2(),
      answerChanges: verdict.answer,
      toApplication: true,
      onFailure: (error) => {
        logger.warn({ err: error }, 'the application did not answer');
        return error instanceof AppError ? { ...noAnswer, detail: error.message } : noAnswer;
      },
      done: (outcome) => enforcer.complete(verdict, outcome),
    });
  }

  return {
    serve(caller) {
      server.once('session', (session) => {
        callers.set(session, caller);
        sessions.add(session);
        session.once('close', () => sessions.delete(session));
        session.setTimeout(limits.keepAliveMs, () => session.close());
        if (caller.peer === undefined) return;
        const cancel = clock.after(caller.peer.notAfter - clock.now(), () => session.close());
        session.once('close', cancel);
      });
      // Synchronous: the session that was announced is the one of this socket.
      server.emit('connection', caller.socket);
    },
    recheck() {
      for (const session of sessions) if (callers.get(session)?.isValid() !== true) session.close();
    },
    drain() {
      for (const session of sessions) session.close();
    },
  };
}

const noAnswer: Problem = { status: 502, code: 'unavailable', detail: 'The application did not answer.' };
