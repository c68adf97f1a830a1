export type TailItem<R> =
  | { readonly type: 'record'; readonly record: R }
  /** So many records were dropped here because the consumer was too slow. */
  | { readonly type: 'lost'; readonly count: number };

/** Records that may wait for one consumer; the oldest go first. */
const MAX_WAITING = 1000;

interface Consumer<R, Q> {
  readonly query: Q;
  readonly waiting: R[];
  lost: number;
  wake: () => void;
}

/** Hands what is indexed to whoever watches. A slow consumer loses the oldest records, and is told how many. */
export class Tail<R, Q> {
  readonly #matches: (record: R, query: Q) => boolean;
  readonly #consumers = new Set<Consumer<R, Q>>();

  constructor(matches: (record: R, query: Q) => boolean) {
    this.#matches = matches;
  }

  get isWatched(): boolean {
    return this.#consumers.size > 0;
  }

  publish(records: readonly R[]): void {
    for (const consumer of this.#consumers) {
      for (const record of records) {
        if (!this.#matches(record, consumer.query)) continue;
        consumer.waiting.push(record);
        if (consumer.waiting.length > MAX_WAITING) {
          consumer.waiting.shift();
          consumer.lost += 1;
        }
      }
      consumer.wake();
    }
  }

  /** Everything that is published from the call on; ends when `signal` aborts or the consumer returns. */
  follow(query: Q, signal: AbortSignal): AsyncGenerator<TailItem<R>, void, undefined> {
    const consumer: Consumer<R, Q> = { query, waiting: [], lost: 0, wake: () => undefined };
    // At once, not at the first `next`: what is indexed in between is not missed.
    if (!signal.aborted) this.#consumers.add(consumer);
    const end = () => {
      this.#consumers.delete(consumer);
      consumer.wake();
    };
    signal.addEventListener('abort', end, { once: true });
    return this.#items(consumer, signal, end);
  }

  async *#items(
    consumer: Consumer<R, Q>,
    signal: AbortSignal,
    end: () => void,
  ): AsyncGenerator<TailItem<R>, void, undefined> {
    try {
      while (!signal.aborted) {
        if (consumer.lost > 0) {
          const count = consumer.lost;
          consumer.lost = 0;
          yield { type: 'lost', count };
          continue;
        }
        const record = consumer.waiting.shift();
        if (record !== undefined) {
          yield { type: 'record', record };
          continue;
        }
        await new Promise<void>((resolve) => {
          consumer.wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener('abort', end);
      end();
    }
  }
}
