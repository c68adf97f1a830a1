import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { AppError } from '../../base/errors.ts';
import { fromServiceError } from '../../wire/errors.ts';

/**
 * The client's end of a bidirectional gRPC stream: messages are received one at a time, so that a slow reader slows the
 * sender down, and sending waits while the connection is full.
 */
export class GrpcStream<Sent, Received> {
  readonly #call: ClientDuplexStream<Sent, Received>;
  readonly #received: Received[] = [];
  #failure: AppError | undefined;
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(call: ClientDuplexStream<Sent, Received>) {
    this.#call = call;
    call.on('data', (message: Received) => {
      this.#received.push(message);
      call.pause();
      this.#wake();
    });
    call.on('error', (error: ServiceError) => this.#end(fromServiceError(error)));
    call.on('end', () => this.#end(undefined));
  }

  /** Resolves when there is room for more. Rejects with what the stream ended with. */
  async send(message: Sent): Promise<void> {
    this.#throwIfOver();
    if (this.#call.write(message)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#call.off('drain', done);
        this.#call.off('close', done);
        this.#call.off('error', done);
        resolve();
      };
      this.#call.once('drain', done);
      this.#call.once('close', done);
      this.#call.once('error', done);
    });
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** The next message; undefined when the server has ended the stream. Rejects with what it failed with. */
  async receive(): Promise<Received | undefined> {
    for (;;) {
      const message = this.#received.shift();
      if (message !== undefined) {
        if (this.#received.length === 0) this.#call.resume();
        return message;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** No more is sent; what was sent arrives. */
  endSending(): void {
    this.#call.end();
  }

  cancel(): void {
    this.#end(undefined);
    this.#call.cancel();
  }

  #end(failure: AppError | undefined): void {
    this.#ended = true;
    // A cancelled stream fails after it ended; what ended it first counts.
    this.#failure ??= failure;
    this.#wake();
  }

  #throwIfOver(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#ended) throw new AppError('unavailable', 'The stream to the control plane has ended.');
  }
}
