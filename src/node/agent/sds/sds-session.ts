import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import { RateLimit } from '../../../base/rate-limit.ts';
import type { ServerStream } from '../../../wire/server-stream.ts';
import type { SdsCaller } from './sds-caller.ts';
import type { Due, Subscription } from './sds-subscription.ts';

export interface SdsSessionOptions<In, Out, Request> {
  readonly stream: ServerStream<In, Out>;
  readonly caller: SdsCaller;
  readonly subscription: Subscription<Request>;
  /** @throws AppError `invalid` */
  readonly fromMessage: (message: In) => Request;
  readonly toMessage: (due: Due) => Out;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Requests of one stream: Envoy sends one for each change of its configuration, and one answer for each response. */
const REQUESTS_PER_SECOND = 50;
const REQUEST_BURST = 200;

/**
 * One stream. Level-based: whenever the client asks or answers, or anything about its identities may have changed, what there
 * is now is held against what it has, and the difference is sent; if the client has not answered yet, after it has.
 */
export class SdsSession<In, Out, Request> {
  readonly #o: SdsSessionOptions<In, Out, Request>;
  readonly #requests: RateLimit;
  /** Aborted when the client has said something, or the stream is over. */
  #round = new AbortController();

  constructor(o: SdsSessionOptions<In, Out, Request>) {
    this.#o = o;
    this.#requests = new RateLimit({ perSecond: REQUESTS_PER_SECOND, burst: REQUEST_BURST, clock: o.clock });
  }

  /** Until the client is done or goes away. Rejects with what the stream is to end with. */
  async run(): Promise<void> {
    this.#o.stream.signal.addEventListener('abort', () => this.#round.abort(), { once: true });
    await Promise.race([this.#listen(), this.#push()]);
  }

  async #listen(): Promise<void> {
    const { stream, subscription, fromMessage, logger, caller } = this.#o;
    for (;;) {
      const message = await stream.receive();
      if (message === undefined) return;
      this.#requests.take('');
      const refusal = subscription.receive(fromMessage(message));
      if (refusal !== undefined) {
        logger.warn(
          { pid: caller.pid, ...refusal },
          'Envoy refused secrets; they are not sent again until they change',
        );
      }
      this.#round.abort();
    }
  }

  async #push(): Promise<void> {
    const { stream, caller, subscription, toMessage } = this.#o;
    for (;;) {
      // Before looking, so that what is said meanwhile is not missed.
      this.#round = new AbortController();
      stream.signal.throwIfAborted();
      const { wanted } = subscription;
      if (wanted === undefined) {
        await said(this.#round.signal);
        continue;
      }
      const due = subscription.respond(await caller.resolve(wanted));
      if (due !== undefined) {
        // As late as can be: a key goes to whoever was attested, not to whoever inherited the connection.
        caller.checkAlive();
        await stream.send(toMessage(due));
      }
      await caller.changed(this.#round.signal);
    }
  }
}

function said(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
