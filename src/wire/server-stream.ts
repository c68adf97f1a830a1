import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../base/clock.ts';
import { AppError } from '../base/errors.ts';
import { Alarm } from './alarm.ts';
import { readable } from './receive.ts';
import { toServiceError } from './status.ts';

/**
 * One call of a streaming method, over the library's stream. What it adds: reading by asking, so that a handler that is busy
 * holds its caller back; writing that waits until the transport takes more; and a signal that tells everything that works
 * for this call to stop, whoever ends it.
 *
 * The library reads up to 16 messages ahead, whatever the handler does: that bounds what one stream can hold in memory.
 *
 * Not solved: the library cannot reset a stream. A caller that does not read keeps its place on the connection, with the one
 * message that was written, until the connection ends; the handler has let go of it by then.
 */
export class ServerStream<In, Out> {
  readonly #call: ServerDuplexStream<In, Out>;
  readonly #over = new AbortController();
  readonly #readable = new Alarm();
  readonly #writable = new Alarm();
  #beforeMessage: () => void = () => undefined;

  constructor(call: ServerDuplexStream<In, Out>) {
    this.#call = call;
    call.on('readable', () => this.#readable.ring());
    call.on('end', () => this.#readable.ring());
    call.on('drain', () => this.#writable.ring());
    const gone = () => this.abort(new AppError('unavailable', 'The caller went away.'));
    call.once('cancelled', gone);
    call.once('close', gone);
  }

  /** Aborted when the call is over or must end; its reason is an AppError. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** `check` runs before each message is handed out, and its error is that of `receive`. */
  beforeMessage(check: () => void): void {
    this.#beforeMessage = check;
  }

  /** The next message, `undefined` when the caller has sent its last. Rejects with the reason of `signal`. */
  async receive(): Promise<In | undefined> {
    for (;;) {
      this.signal.throwIfAborted();
      const message: In | null = this.#call.read();
      if (message !== null) {
        this.#beforeMessage();
        return readable(message);
      }
      if (this.#call.readableEnded) return undefined;
      await this.#readable.wait();
    }
  }

  /** As `receive`, but the call ends with `deadline-exceeded` when nothing comes in time. */
  async receiveWithin(ms: number, clock: Clock): Promise<In | undefined> {
    const cancel = clock.after(ms, () =>
      this.abort(new AppError('deadline-exceeded', `Nothing was received within ${ms / 1000} s.`)),
    );
    try {
      return await this.receive();
    } finally {
      cancel();
    }
  }

  /** Resolves when the transport can take another message. Rejects with the reason of `signal`. */
  async send(message: Out): Promise<void> {
    this.signal.throwIfAborted();
    let full = !this.#call.write(message);
    while (full) {
      await this.#writable.wait();
      this.signal.throwIfAborted();
      full = this.#call.writableNeedDrain;
    }
  }

  /** Writes, whether or not the transport can take more: for the little that cannot wait behind what is being sent. */
  write(message: Out): void {
    this.signal.throwIfAborted();
    this.#call.write(message);
  }

  /** Makes everything that works for this call stop with `reason`. */
  abort(reason: AppError): void {
    if (this.signal.aborted) return;
    this.#over.abort(reason);
    this.#readable.ring();
    this.#writable.ring();
  }

  /** The answer is complete. */
  end(): void {
    if (!this.#call.destroyed) this.#call.end();
  }

  /** Ends the call with an error, unless the caller has gone. */
  fail(error: unknown): void {
    if (!this.#call.destroyed) this.#call.emit('error', toServiceError(error));
  }
}
