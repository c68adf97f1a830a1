import type { Clock } from './clock.ts';
import { AppError } from './errors.ts';

const MAX_SOURCES = 10_000;

interface Bucket {
  tokens: number;
  /** Milliseconds since the epoch: when `tokens` was counted. */
  at: number;
}

/**
 * One token bucket for each source. Remembers the 10,000 sources that were last seen; an attacker with more addresses than
 * that is not limited by it.
 */
export class RateLimit {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: { readonly perSecond: number; readonly burst: number; readonly clock: Clock }) {
    this.#perSecond = options.perSecond;
    this.#burst = options.burst;
    this.#clock = options.clock;
  }

  /** Uses up `weight` tokens, default one; throws `exhausted`, with the time to wait, and uses none when there are fewer. */
  take(source: string, weight = 1): void {
    const bucket = this.#refilled(source);
    this.#remember(source, bucket);
    if (bucket.tokens < weight) {
      const retryAfterSeconds = Math.ceil((weight - bucket.tokens) / this.#perSecond);
      throw new AppError('exhausted', `Too many attempts. Try again in ${retryAfterSeconds} s.`, {
        retryAfterSeconds,
      });
    }
    bucket.tokens -= weight;
  }

  #refilled(source: string): Bucket {
    const now = this.#clock.now();
    const bucket = this.#buckets.get(source) ?? { tokens: this.#burst, at: now };
    // A clock that was set back must not take tokens away.
    const elapsedMs = Math.max(0, now - bucket.at);
    return { tokens: Math.min(this.#burst, bucket.tokens + (elapsedMs / 1000) * this.#perSecond), at: now };
  }

  #remember(source: string, bucket: Bucket): void {
    this.#buckets.delete(source);
    this.#buckets.set(source, bucket);
    if (this.#buckets.size <= MAX_SOURCES) return;
    const [oldest] = this.#buckets.keys();
    if (oldest !== undefined) this.#buckets.delete(oldest);
  }
}
