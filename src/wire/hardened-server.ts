import type { ServerHttp2Stream } from 'node:http2';
import type { ServerOptions } from '@grpc/grpc-js';
import { Server } from '@grpc/grpc-js';

/** What of the library's server is put right here; its types keep it private. */
interface Internals {
  _respondWithError(error: unknown, stream: ServerHttp2Stream, session?: unknown): void;
  _verifyContentType(stream: ServerHttp2Stream, headers: unknown): boolean;
}

/**
 * The library's server (1.14.7), without a way to end the process from outside: when it refuses a request whose stream has
 * been destroyed meanwhile (an unknown method or a foreign content type, then a connection error, in one packet, by anybody
 * who reaches the port), it answers on that stream, Node throws, and nobody catches. A stream that is gone needs no answer.
 *
 * @param onStream is told of each request as it begins, before anything is read of its body
 * @throws Error at construction when the library no longer has what is put right here: then look at this file again
 */
export function hardenedServer(options: ServerOptions, onStream?: (stream: ServerHttp2Stream) => void): Server {
  const server = new Server(options);
  const internals = server as unknown as Internals;
  const { _respondWithError: respond, _verifyContentType: verify } = internals;
  if (typeof respond !== 'function' || typeof verify !== 'function') {
    throw new Error('The gRPC library has changed: its answer to a destroyed stream is not guarded any more.');
  }
  internals._respondWithError = (error, stream, session) => {
    if (!isGone(stream)) respond.call(server, error, stream, session);
  };
  internals._verifyContentType = (stream, headers) => {
    if (isGone(stream) || !verify.call(server, stream, headers)) return false;
    onStream?.(stream);
    return true;
  };
  return server;
}

function isGone(stream: ServerHttp2Stream): boolean {
  return stream.destroyed || stream.closed;
}
