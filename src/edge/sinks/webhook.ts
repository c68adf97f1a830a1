import { createHmac } from 'node:crypto';
import type { SinkItem } from '../../control/ledger/sinks/item.ts';
import type { Sink } from '../../control/ledger/sinks/sink.ts';
import type { PosterOptions } from './post.ts';
import { isSuccess, Poster, refusal } from './post.ts';

export interface WebhookSinkOptions extends PosterOptions {
  readonly encode: (item: SinkItem) => readonly string[];
  /** Shared with the receiver, who checks the signature of each body with it. */
  readonly secret: Buffer;
  readonly now: () => number;
}

/** POST of JSON lines to a URL, signed: see `signatureOf`. Any 2xx means that the receiver has them. */
export class WebhookSink implements Sink {
  readonly #o: WebhookSinkOptions;
  readonly #poster: Poster;

  constructor(options: WebhookSinkOptions) {
    this.#o = options;
    this.#poster = new Poster(options);
  }

  async deliver(items: readonly SinkItem[], signal: AbortSignal): Promise<void> {
    const body = Buffer.from(items.flatMap((item) => this.#o.encode(item).map((line) => `${line}\n`)).join(''), 'utf8');
    const seconds = Math.floor(this.#o.now() / 1000);
    const answer = await this.#poster.post(
      body,
      {
        'content-type': 'application/x-ndjson',
        'writ-signature': `t=${seconds},v1=${signatureOf(this.#o.secret, seconds, body)}`,
        // The same when it is sent again.
        'writ-delivery': `${items[0]?.id ?? ''}:${items.length}`,
      },
      signal,
    );
    if (!isSuccess(answer)) throw refusal(answer);
  }

  close(): Promise<void> {
    return this.#poster.close();
  }
}

/** HMAC-SHA256 over `<seconds>.` and the body, lower hex: a receiver refuses what is old, too. */
export function signatureOf(secret: Buffer, seconds: number, body: Buffer): string {
  return createHmac('sha256', secret).update(`${seconds}.`).update(body).digest('hex');
}
