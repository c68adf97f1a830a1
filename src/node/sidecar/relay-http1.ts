import type { Agent, ClientRequest, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { request } from 'node:http';
import type { RequestChanges } from './checks/request-changes.ts';
import { changedFields } from './checks/request-changes.ts';
import type { Outcome } from './enforce.ts';
import type { Http1Head } from './http1-head.ts';
import { interimFields, responseFields, trailerFields } from './http1-head.ts';
import type { Problem } from './problem.ts';
import { sendProblem } from './problem.ts';

export interface Http1Target {
  readonly agent: Agent;
  readonly host: string;
  readonly port: number;
}

export interface Http1Relay {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly head: Http1Head;
  /** Request target to send. */
  readonly target: string;
  /** Fields to send besides those of `head`, name and value alternating. */
  readonly added: readonly string[];
  /** Where to send it. The next one is tried only when the connection failed before anything was sent on it. */
  readonly targets: readonly Http1Target[];
  /** Fields that the caller may not send behind the body: see `RequestChanges`. */
  readonly withheld?: ReadonlySet<string> | undefined;
  /** Of the fields of the answer. */
  readonly answerChanges?: RequestChanges | undefined;
  /** The other side is the application, not a sidecar. */
  readonly toApplication: boolean;
  /** Whether the caller's connection shall end with this answer. */
  readonly closing: () => boolean;
  /** What to answer when no target could be reached, or the one that was gave no answer. */
  readonly onFailure: (error: unknown) => Problem;
  /** Called once, when the exchange is over. */
  readonly done: (outcome: Outcome) => void;
}

/** Methods that may be sent twice (RFC 9110 §9.2.2) and that Node sends without a body when we give none. */
const idempotent = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
/** Node announces a body of unknown length for other methods, unless a length is given. */
const usuallyWithoutBody = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'DELETE']);

/**
 * Sends one HTTP/1.1 request on, and its answer back, both as streams with back-pressure. Interim answers and trailers go
 * through. A caller who goes away ends the request; an answer that breaks off breaks the caller's connection off, so that
 * nobody takes a part for the whole.
 */
export function relayHttp1(o: Http1Relay): void {
  new Exchange(o).start();
}

class Exchange {
  readonly #o: Http1Relay;
  readonly #method: string;
  #upstream: ClientRequest | undefined;
  #attempt = 0;
  #retriedIdle = false;
  #answered = false;
  #isOver = false;
  #brokenOff = false;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(o: Http1Relay) {
    this.#o = o;
    this.#method = o.req.method ?? 'GET';
  }

  start(): void {
    const { req, res } = this.#o;
    // The caller left while the call was decided: nothing would tell us so any more.
    if (res.destroyed || req.socket.destroyed) {
      this.#over();
      return;
    }
    res.once('close', () => this.#over());
    this.#send();
  }

  #send(): void {
    const { targets, onFailure } = this.#o;
    const to = targets[this.#attempt];
    if (to === undefined) {
      this.#fail(onFailure(undefined));
      return;
    }
    const upstream = request({
      agent: to.agent,
      host: to.host,
      port: to.port,
      method: this.#method,
      path: this.#o.target,
      headers: this.#fields() as unknown as readonly string[],
    });
    this.#upstream = upstream;
    let connected = false;
    upstream.once('socket', () => {
      connected = true;
      if (this.#o.head.length !== 0) this.#sendBody(upstream);
    });
    if (this.#o.head.length === 0) upstream.end();
    upstream.once('response', (answer) => this.#answer(answer));
    upstream.on('error', (error) => this.#onError(error, upstream, connected));
    upstream.on('information', (info) => {
      this.#interim(info.statusCode, info.rawHeaders);
    });
    // Ended without an answer and without an error: an unasked-for 101, for one.
    upstream.once('close', () => this.#onError(new Error('closed without an answer'), upstream, true));
  }

  #fields(): string[] {
    const { head, added } = this.#o;
    const fields = [...head.fields, ...added];
    if (head.length === undefined) fields.push('Transfer-Encoding', 'chunked');
    else if (head.length === 0 && !usuallyWithoutBody.has(this.#method) && !has(fields, 'content-length')) {
      fields.push('Content-Length', '0');
    }
    return fields;
  }

  #sendBody(upstream: ClientRequest): void {
    const { req, head } = this.#o;
    req.on('data', (chunk: Buffer) => {
      this.#bytesIn += chunk.length;
      // The last bytes and the end in one write.
      if (this.#bytesIn === head.length) upstream.end(chunk);
      else if (!upstream.write(chunk)) req.pause();
    });
    upstream.on('drain', () => req.resume());
    req.once('end', () => {
      if (upstream.writableEnded) return;
      if (req.rawTrailers.length > 0) upstream.addTrailers(trailerFields(req.rawTrailers, this.#o.withheld));
      upstream.end();
    });
    // A body that breaks off is seen by `close` of the response.
    req.on('error', () => undefined);
  }

  #interim(status: number, raw: readonly string[]): void {
    const { res, toApplication } = this.#o;
    if (this.#isOver || res.destroyed || res.headersSent || status === 101) return;
    try {
      if (status === 100) res.writeContinue();
      // The types of Node know only the object form.
      else res.writeInformation(status, interimFields(raw, toApplication) as unknown as OutgoingHttpHeaders);
    } catch {
      // The call does not depend on it.
    }
  }

  #answer(answer: IncomingMessage): void {
    const { req, res, head, toApplication, closing, onFailure } = this.#o;
    if (this.#isOver || res.destroyed) {
      // Left unread, it would keep its connection for ever.
      answer.destroy();
      return;
    }
    this.#answered = true;
    const status = answer.statusCode ?? 502;
    const { fields: own, length } = responseFields(answer.rawHeaders, toApplication);
    const fields = [...changedFields(own, this.#o.answerChanges)];
    // Where the request is still on its way, what is left of it must not be read as the next request.
    if (closing() || (head.length !== 0 && !req.complete)) fields.push('Connection', 'close');
    res.sendDate = false;
    try {
      res.writeHead(status, answer.statusMessage ?? '', fields);
    } catch (error) {
      answer.destroy();
      this.#fail(onFailure(error));
      return;
    }
    if (this.#method === 'HEAD' || status === 204 || status === 304 || length === 0) {
      res.end();
      answer.resume();
      return;
    }
    answer.on('data', (chunk: Buffer) => {
      this.#bytesOut += chunk.length;
      if (this.#bytesOut === length) res.end(chunk);
      else if (!res.write(chunk)) answer.pause();
    });
    res.on('drain', () => answer.resume());
    answer.once('end', () => {
      if (res.writableEnded) return;
      if (answer.rawTrailers.length > 0 && length < 0) res.addTrailers(trailerFields(answer.rawTrailers));
      res.end();
    });
    answer.on('error', () => this.#breakOff());
  }

  #onError(error: Error, upstream: ClientRequest, connected: boolean): void {
    if (upstream !== this.#upstream || this.#isOver || this.#o.res.destroyed) return;
    if (this.#answered) {
      // An answer that ended is not harmed by what happens to the rest of the request.
      if (!this.#o.res.writableEnded) this.#breakOff();
      return;
    }
    if (!connected && this.#attempt + 1 < this.#o.targets.length) {
      this.#attempt += 1;
      this.#send();
    } else if (connected && this.#mayRepeat(upstream)) {
      this.#retriedIdle = true;
      this.#send();
    } else {
      this.#fail(this.#o.onFailure(error));
    }
  }

  /**
   * The application closed an idle connection just as we used it again, which it may do at any time. Without a body and
   * with an idempotent method the request is sent once more, on a new connection. The call stays one call on the record.
   */
  #mayRepeat(upstream: ClientRequest): boolean {
    const may =
      this.#o.toApplication &&
      !this.#retriedIdle &&
      upstream.reusedSocket &&
      this.#o.head.length === 0 &&
      idempotent.has(this.#method);
    if (may) {
      const idle = this.#o.targets[this.#attempt]?.agent.freeSockets ?? {};
      for (const sockets of Object.values(idle)) for (const socket of sockets ?? []) socket.destroy();
    }
    return may;
  }

  #fail(problem: Problem): void {
    const { req, res, head } = this.#o;
    const close = this.#o.closing() || (head.length !== 0 && !req.complete);
    this.#bytesOut += sendProblem(res, problem, close ? { connection: 'close' } : {});
  }

  #breakOff(): void {
    this.#brokenOff = true;
    this.#o.res.destroy();
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { res } = this.#o;
    const whole = res.writableFinished;
    // Also where the answer came before the request was whole: the rest of it will never come.
    if (!whole || this.#upstream?.writableFinished === false) this.#upstream?.destroy();
    const status = whole || this.#brokenOff ? res.statusCode : 0;
    this.#o.done({ status, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut });
  }
}

function has(fields: readonly string[], key: string): boolean {
  for (let i = 0; i < fields.length; i += 2) if ((fields[i] ?? '').toLowerCase() === key) return true;
  return false;
}
