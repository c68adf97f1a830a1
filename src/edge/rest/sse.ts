import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { PassThrough } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { isAbort } from '../../base/tasks.ts';

export interface ServerSentEvent {
  readonly event: string;
  readonly id?: string;
  readonly data: unknown;
}

/** Streams at a time; more are refused with `exhausted`. */
export const MAX_STREAMS = 200;
/** Comments that keep an idle connection, and the proxies on its way, alive. */
export const HEARTBEAT_MS = 15_000;
/** A reader that takes nothing for so long is gone. */
export const STALL_MS = 60_000;

export interface EventStreamsDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends every stream, so that the server can close. */
  readonly stopping: AbortSignal;
}

/**
 * Live streams to callers, as server-sent events (WHATWG HTML §9.2), with back-pressure: the source is asked for its next
 * event only when the connection has taken the one before, so what a slow reader misses is for the source to count.
 */
export class EventStreams {
  readonly #deps: EventStreamsDeps;
  #size = 0;

  constructor(deps: EventStreamsDeps) {
    this.#deps = deps;
  }

  /** Streams that have not ended. */
  get size(): number {
    return this.#size;
  }

  /** What `source` yields, as the body of `response`. Ends with the source, the caller's connection, or the server. */
  open(response: ServerResponse, source: (signal: AbortSignal) => AsyncIterable<ServerSentEvent>): Readable {
    if (this.#size >= MAX_STREAMS)
      throw new AppError('exhausted', `There are ${MAX_STREAMS} live streams already. Try again later.`, {
        retryAfterSeconds: 10,
      });
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const stream = new PassThrough();
    this.#size += 1;
    void this.#pump(stream, source, AbortSignal.any([gone.signal, this.#deps.stopping])).then((whole) => {
      this.#size -= 1;
      if (whole) stream.end();
      else response.destroy();
    });
    return stream;
  }

  /** Whether the stream may end in order; otherwise the connection is cut, so that the caller knows that something is missing. */
  async #pump(
    stream: PassThrough,
    source: (signal: AbortSignal) => AsyncIterable<ServerSentEvent>,
    signal: AbortSignal,
  ): Promise<boolean> {
    // At once, so that the caller sees the head of the answer and knows that it listens.
    stream.write(': open\n\n');
    const stopHeartbeat = this.#heartbeat(stream);
    try {
      for await (const event of source(signal)) {
        if (signal.aborted) break;
        if (!stream.write(format(event)) && !(await this.#drained(stream, signal))) return false;
      }
      return true;
    } catch (error) {
      if (signal.aborted && isAbort(error, signal)) return true;
      this.#deps.logger.error({ err: error }, 'a live stream failed');
      return false;
    } finally {
      stopHeartbeat();
    }
  }

  #heartbeat(stream: PassThrough): () => void {
    let cancel: () => void;
    const schedule = () => {
      cancel = this.#deps.clock.after(HEARTBEAT_MS, () => {
        if (!stream.writableNeedDrain) stream.write(': still here\n\n');
        schedule();
      });
    };
    schedule();
    return () => cancel();
  }

  /** Whether the reader took what was written; false when it stalled. */
  #drained(stream: PassThrough, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (ok: boolean) => {
        cancel();
        stream.off('drain', onDrain);
        signal.removeEventListener('abort', onDrain);
        resolve(ok);
      };
      const onDrain = () => end(true);
      const cancel = this.#deps.clock.after(STALL_MS, () => end(false));
      stream.on('drain', onDrain);
      signal.addEventListener('abort', onDrain);
      if (signal.aborted) onDrain();
    });
  }
}

/** JSON has no line breaks of its own, so `data` is one line; ids and names are ours. */
function format({ event, id, data }: ServerSentEvent): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
