import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  IncomingHttpHeaders,
  IncomingHttpStatusHeader,
  OutgoingHttpHeaders,
  ServerHttp2Stream,
} from 'node:http2';
import { constants, sensitiveHeaders } from 'node:http2';
import type { RequestChanges } from './checks/request-changes.ts';
import { changeHeaders } from './checks/request-changes.ts';
import type { Outcome } from './enforce.ts';
import { isForbiddenTrailer, isSetBySidecars, isSidecarsAnswer } from './http1-head.ts';
import type { Problem } from './problem.ts';
import { respondProblem } from './problem.ts';

export interface Http2Relay {
  readonly stream: ServerHttp2Stream;
  /** What to send, pseudo-header fields included. */
  readonly headers: OutgoingHttpHeaders;
  /** The request has no body. */
  readonly endStream: boolean;
  /** What `trailersOf` gave when the stream was new. */
  readonly trailers: () => OutgoingHttpHeaders;
  readonly grpc: boolean;
  /** Connects, where there is no connection yet. Rejects when nothing was sent. */
  readonly connect: () => ClientHttp2Session | Promise<ClientHttp2Session>;
  /** Of the fields of the answer. */
  readonly answerChanges?: RequestChanges | undefined;
  readonly toApplication: boolean;
  readonly onFailure: (error: unknown) => Problem;
  /** Called once, when the exchange is over. */
  readonly done: (outcome: Outcome) => void;
}

const { NGHTTP2_FLAG_END_STREAM, NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM, NGHTTP2_INTERNAL_ERROR } =
  constants;

/** Fields that HTTP/2 does not have (RFC 9113 §8.2.2), and that nghttp2 would refuse to send. */
const notInHttp2 = [
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
] as const;

/** The fields of a request that go on: without what is per hop, and without what only sidecars set. */
export function forwardedFields(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const out: OutgoingHttpHeaders = { ...headers };
  for (const name of notInHttp2) delete out[name];
  for (const name of Object.keys(out)) if (isSetBySidecars(name)) delete out[name];
  delete out.host;
  delete out['proxy-authorization'];
  if (out.te !== undefined && out.te !== 'trailers') delete out.te;
  // What the caller marked as never to be indexed stays so.
  const sensitive = (headers as { [sensitiveHeaders]?: string[] })[sensitiveHeaders];
  if (sensitive !== undefined) (out as { [sensitiveHeaders]?: string[] })[sensitiveHeaders] = sensitive;
  return out;
}

/** To be called as soon as there is a stream: Node tells of trailers once, also while the decision is still being made. */
export function trailersOf(stream: ServerHttp2Stream): () => OutgoingHttpHeaders {
  let trailers: OutgoingHttpHeaders = {};
  stream.once('trailers', (fields: IncomingHttpHeaders) => {
    trailers = safeTrailers(fields);
  });
  return () => trailers;
}

/**
 * Sends one HTTP/2 stream on, and its answer back, with back-pressure, interim answers, trailers, and resets in both
 * directions: whatever code one side resets with is what the other side sees.
 */
export function relayHttp2(o: Http2Relay): void {
  void new Exchange(o).start();
}

class Exchange {
  readonly #o: Http2Relay;
  #upstream: ClientHttp2Stream | undefined;
  #status = 0;
  #brokenOff = false;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(o: Http2Relay) {
    this.#o = o;
  }

  async start(): Promise<void> {
    const { stream } = this.#o;
    // The caller left while the call was decided: nobody would be told of `close` any more.
    if (isGone(stream)) {
      stream.destroy();
      this.#o.done({ status: 0, bytesIn: 0, bytesOut: 0 });
      return;
    }
    stream.once('close', () => this.#over());
    // A reset by the caller is seen by `close`.
    stream.on('error', () => undefined);
    // With the answer given, the rest of the request is not wanted (RFC 9113 §8.1).
    stream.once('finish', () => {
      if (!stream.readableEnded) stream.close(NGHTTP2_NO_ERROR);
    });
    try {
      const connected = this.#o.connect();
      const session = connected instanceof Promise ? await connected : connected;
      if (isGone(stream)) {
        stream.destroy();
        return;
      }
      this.#send(session);
    } catch (error) {
      this.#fail(error);
    }
  }

  #send(session: ClientHttp2Session): void {
    const { stream, headers, endStream } = this.#o;
    const upstream = session.request(headers, { endStream, waitForTrailers: !endStream });
    this.#upstream = upstream;
    if (!endStream) this.#sendBody(upstream);
    upstream.once('response', (answer, flags) => this.#answer(answer, flags));
    upstream.on('headers', (interim: IncomingHttpHeaders) => {
      if (stream.headersSent || isGone(stream)) return;
      try {
        stream.additionalHeaders(this.#interimHeaders(interim));
      } catch (error) {
        this.#fail(error);
      }
    });
    let failure: unknown;
    upstream.on('error', (error) => {
      failure = error;
    });
    upstream.once('close', () => this.#upstreamClosed(upstream, failure));
  }

  #sendBody(upstream: ClientHttp2Stream): void {
    const { stream } = this.#o;
    upstream.once('wantTrailers', () => sendTrailers(upstream, this.#o.trailers()));
    stream.on('data', (chunk: Buffer) => {
      this.#bytesIn += chunk.length;
    });
    stream.pipe(upstream);
  }

  #answer(answer: IncomingHttpHeaders & IncomingHttpStatusHeader, flags: number): void {
    const { stream } = this.#o;
    const upstream = this.#upstream;
    // It may have failed with an interim answer.
    if (isGone(stream) || stream.headersSent || upstream === undefined) return;
    const endStream = (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
    try {
      const headers = this.#answerHeaders(answer);
      changeHeaders(headers, this.#o.answerChanges);
      stream.respond(headers, { endStream, waitForTrailers: !endStream });
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#status = answer[':status'] ?? 0;
    if (endStream) return;
    let trailers: OutgoingHttpHeaders = {};
    upstream.once('trailers', (fields: IncomingHttpHeaders) => {
      trailers = safeTrailers(fields);
    });
    stream.once('wantTrailers', () => sendTrailers(stream, trailers));
    upstream.on('data', (chunk: Buffer) => {
      this.#bytesOut += chunk.length;
    });
    upstream.pipe(stream);
  }

  #answerHeaders(answer: IncomingHttpHeaders): OutgoingHttpHeaders {
    const headers: OutgoingHttpHeaders = { ...answer };
    for (const name of notInHttp2) delete headers[name];
    delete headers.te;
    if (this.#o.toApplication) {
      for (const name of Object.keys(headers)) if (isSidecarsAnswer(name)) delete headers[name];
    }
    return headers;
  }

  /** The same as for an answer, and without what would describe a body: there is none. */
  #interimHeaders(interim: IncomingHttpHeaders): OutgoingHttpHeaders {
    const headers = this.#answerHeaders(interim);
    delete headers['content-length'];
    delete headers.trailer;
    return headers;
  }

  #upstreamClosed(upstream: ClientHttp2Stream, failure: unknown): void {
    const { stream } = this.#o;
    const code = upstream.rstCode ?? NGHTTP2_INTERNAL_ERROR;
    if (!stream.headersSent) {
      // Refused before it was looked at: the caller may send it again (RFC 9113 §8.7).
      if (code === NGHTTP2_REFUSED_STREAM) stream.close(code);
      else this.#fail(failure);
      return;
    }
    if (stream.writableEnded) return;
    // Whole, only still on its way to the caller.
    if (code === NGHTTP2_NO_ERROR && failure === undefined && upstream.readableEnded) return;
    this.#brokenOff = true;
    stream.close(code === NGHTTP2_NO_ERROR ? NGHTTP2_INTERNAL_ERROR : code);
  }

  #fail(error: unknown): void {
    const { stream, grpc, onFailure } = this.#o;
    const problem = onFailure(error);
    this.#status = problem.status;
    this.#bytesOut += respondProblem(stream, problem, grpc);
  }

  #over(): void {
    const { stream } = this.#o;
    const upstream = this.#upstream;
    const code = stream.rstCode ?? NGHTTP2_CANCEL;
    if (upstream !== undefined && !upstream.closed) upstream.close(code === NGHTTP2_NO_ERROR ? NGHTTP2_CANCEL : code);
    // Node ends the stream also when the caller has reset it, so that it finished says nothing.
    const whole = this.#brokenOff || code === NGHTTP2_NO_ERROR || upstream?.readableEnded === true;
    this.#o.done({ status: whole ? this.#status : 0, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut });
  }
}

/** Also between the reset and its event. */
function isGone(stream: ServerHttp2Stream): boolean {
  return stream.destroyed || stream.closed;
}

/** Node throws what it does not like in an event, where nobody would catch it. */
function sendTrailers(stream: ServerHttp2Stream | ClientHttp2Stream, trailers: OutgoingHttpHeaders): void {
  if (stream.destroyed || stream.closed) return;
  try {
    stream.sendTrailers(trailers);
  } catch {
    stream.close(NGHTTP2_INTERNAL_ERROR);
  }
}

/** @param withheld as of `RequestChanges` */
export function safeTrailers(
  fields: IncomingHttpHeaders | OutgoingHttpHeaders,
  withheld?: ReadonlySet<string>,
): OutgoingHttpHeaders {
  const out: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(fields)) {
    if (!name.startsWith(':') && !isForbiddenTrailer(name, withheld) && value !== undefined) out[name] = value;
  }
  return out;
}
