import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { SinkItem } from '../../control/ledger/sinks/item.ts';
import type { Sink } from '../../control/ledger/sinks/sink.ts';
import type { PosterOptions } from './post.ts';
import { isSuccess, jsonOf, Poster, refusal } from './post.ts';

export interface SplunkSinkOptions extends PosterOptions {
  /** Events of the HTTP Event Collector, one after the other. */
  readonly encode: (item: SinkItem) => readonly string[];
  readonly token: string;
  /** UUID of this sender: acknowledgements belong to it. */
  readonly channel: string;
  readonly clock: Clock;
}

const POLL_MS = 1_000;

/**
 * The HTTP Event Collector of Splunk with indexer acknowledgement: its 200 means that it has read the events, not that it has
 * them. They count when it says so for their `ackId`; what it does not confirm in time is sent again.
 */
export class SplunkSink implements Sink {
  readonly #o: SplunkSinkOptions;
  readonly #poster: Poster;
  readonly #eventUrl: URL;
  readonly #ackUrl: URL;

  constructor(options: SplunkSinkOptions) {
    this.#o = options;
    this.#poster = new Poster(options);
    this.#eventUrl = new URL('/services/collector/event', options.url);
    this.#ackUrl = new URL(`/services/collector/ack?channel=${options.channel}`, options.url);
  }

  async deliver(items: readonly SinkItem[], signal: AbortSignal): Promise<void> {
    const body = items.flatMap((item) => this.#o.encode(item)).join('\n');
    const answer = await this.#poster.post(Buffer.from(body, 'utf8'), this.#headers, signal, this.#eventUrl);
    // 400 is also what it says to a disabled index or a missing channel: only its own code 6 or 12 is about the data.
    if (!isSuccess(answer)) {
      const { code } = jsonOf(answer);
      const refused = refusal(answer);
      if (refused.code === 'invalid' && answer.status === 400 && !isAboutData(code)) {
        throw new AppError('unavailable', `The receiver answered 400 with its code ${Number(code)}.`);
      }
      throw refused;
    }
    const { ackId } = jsonOf(answer);
    if (typeof ackId !== 'number' || !Number.isSafeInteger(ackId)) {
      throw new AppError(
        'unavailable',
        'The receiver gave no ackId. Enable indexer acknowledgement for the token of this sink.',
      );
    }
    await this.#acknowledged(ackId, signal);
  }

  close(): Promise<void> {
    return this.#poster.close();
  }

  async #acknowledged(ackId: number, signal: AbortSignal): Promise<void> {
    const question = Buffer.from(JSON.stringify({ acks: [ackId] }), 'utf8');
    while (!signal.aborted) {
      const answer = await this.#poster.post(question, this.#headers, signal, this.#ackUrl);
      if (!isSuccess(answer))
        throw new AppError('unavailable', `The receiver answered ${answer.status} about its ackId.`);
      const { acks } = jsonOf(answer);
      if (typeof acks === 'object' && acks !== null && Reflect.get(acks, String(ackId)) === true) return;
      await sleep(this.#o.clock, POLL_MS, signal);
    }
    throw new AppError('deadline-exceeded', 'The receiver has not confirmed in time that it has the events.');
  }

  get #headers(): Readonly<Record<string, string>> {
    return {
      authorization: `Splunk ${this.#o.token}`,
      'content-type': 'application/json',
      'x-splunk-request-channel': this.#o.channel,
    };
  }
}

/** 5: no data, 6: invalid data format, 12: event field is required, 13: it is blank, 15: fields are not indexed. */
function isAboutData(code: unknown): boolean {
  return code === 5 || code === 6 || code === 12 || code === 13 || code === 15;
}
