import { AppError } from '../../base/errors.ts';
import type { ShipLogged } from '../../core/audit/ship.ts';
import type { ShipResponseMessage } from '../../wire/audit.ts';
import { fromShipRequest, toShipResponse } from '../../wire/audit.ts';
import type { ShipRequest__Output } from '../../wire/gen/writ/v1/ShipRequest.ts';
import type { ShipResponse } from '../../wire/gen/writ/v1/ShipResponse.ts';
import { Alarm } from './alarm.ts';
import type { AuditSession } from './services.ts';
import type { ServerStream } from './stream.ts';

type Reply = Awaited<ReturnType<AuditSession['append']>>;

/**
 * The batches of one sidecar on their way to the ledger. As many as it has credit for are handed in without waiting, so that
 * they share a write to the disk; then reading stops, which holds the sidecar back. Answers are in the order of the batches.
 * A refusal is the last answer: the sidecar starts over with a hello.
 */
export class ShipSession {
  readonly #stream: ServerStream<ShipRequest__Output, ShipResponse>;
  readonly #session: AuditSession;
  readonly #credit: number;
  readonly #unanswered: Promise<Reply>[] = [];
  readonly #taken = new Alarm();
  readonly #answered = new Alarm();
  readonly #logged: AsyncIterable<ShipLogged> | undefined;
  #sending: Promise<void> = Promise.resolve();
  #complete = false;

  constructor(
    stream: ServerStream<ShipRequest__Output, ShipResponse>,
    session: AuditSession,
    credit: number,
    logged?: AsyncIterable<ShipLogged>,
  ) {
    this.#stream = stream;
    this.#session = session;
    this.#credit = credit;
    this.#logged = logged;
  }

  /** Until the sidecar has sent its last batch and it is answered, or one is refused. Rejects when either side fails. */
  async run(): Promise<void> {
    const answering = this.#answer();
    // It never ends by itself: whatever ends it ends the stream.
    const showing = this.#show();
    await Promise.race([answering, this.#take().then(() => answering), showing.then(() => answering)]);
  }

  async #take(): Promise<void> {
    for (;;) {
      while (this.#unanswered.length >= this.#credit) await this.#answered.wait();
      const message = await this.#stream.receive();
      if (message === undefined) break;
      const request = fromShipRequest(message);
      if (!('batch' in request)) throw new AppError('invalid', 'Only batches follow hello.');
      const reply = this.#session.append(request.batch);
      // Whoever answers may have stopped by then.
      reply.catch(() => undefined);
      this.#unanswered.push(reply);
      this.#taken.ring();
    }
    this.#complete = true;
    this.#taken.ring();
  }

  /** How the log grows, between the answers. */
  async #show(): Promise<void> {
    for await (const logged of this.#logged ?? []) await this.#send({ logged });
  }

  /** One message after the other: the stream has one writer. */
  #send(message: ShipResponseMessage): Promise<void> {
    const sent = this.#sending.then(() => this.#stream.send(toShipResponse(message)));
    this.#sending = sent.catch(() => undefined);
    return sent;
  }

  async #answer(): Promise<void> {
    for (;;) {
      const next = this.#unanswered[0];
      if (next === undefined) {
        if (this.#complete) return;
        await this.#taken.wait();
        continue;
      }
      const reply = await next;
      await this.#send(reply);
      if ('nack' in reply) return;
      void this.#unanswered.shift();
      this.#answered.ring();
    }
  }
}
