import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';

/** What is kept: a token and when it holds, milliseconds since the epoch. */
export interface CachedToken {
  readonly token: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface TokenCacheOptions {
  readonly clock: Clock;
  /** Tokens kept; beyond that the one that was used longest ago goes. Default 1,000. */
  readonly maxTokens?: number;
}

/**
 * Tokens, each handed out again until half of its life has passed, so that repeated questions do not reach the control plane.
 * In its second half a token is fetched anew; the old one is still handed out while the control plane is away.
 * Who asks for the same at the same time shares one answer.
 */
export class TokenCache<T extends CachedToken> {
  readonly #clock: Clock;
  readonly #maxTokens: number;
  /** Used longest ago first. */
  readonly #kept = new Map<string, T>();
  readonly #asked = new Map<string, Promise<T>>();

  constructor(o: TokenCacheOptions) {
    this.#clock = o.clock;
    this.#maxTokens = o.maxTokens ?? 1_000;
  }

  get size(): number {
    return this.#kept.size;
  }

  /** @param isGood what else a kept token must fulfil; one that does not is as if it were not there */
  async get(key: string, fetch: () => Promise<T>, isGood: (kept: T) => boolean = () => true): Promise<T> {
    const kept = this.#usable(key, isGood);
    if (kept !== undefined && this.#clock.now() < (kept.issuedAt + kept.expiresAt) / 2) {
      this.#keep(key, kept);
      return kept;
    }
    try {
      return await this.#fetchOnce(key, fetch);
    } catch (error) {
      // In its second half it is still good, and better than none.
      const last = isAway(error) ? this.#usable(key, isGood) : undefined;
      if (last !== undefined) return last;
      throw error;
    }
  }

  #usable(key: string, isGood: (kept: T) => boolean): T | undefined {
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    if (this.#clock.now() < kept.expiresAt && isGood(kept)) return kept;
    this.#kept.delete(key);
    return undefined;
  }

  #fetchOnce(key: string, fetch: () => Promise<T>): Promise<T> {
    let asked = this.#asked.get(key);
    if (asked === undefined) {
      asked = fetch()
        .then((token) => {
          this.#keep(key, token);
          return token;
        })
        .finally(() => this.#asked.delete(key));
      this.#asked.set(key, asked);
    }
    return asked;
  }

  #keep(key: string, token: T): void {
    this.#kept.delete(key);
    this.#kept.set(key, token);
    if (this.#kept.size <= this.#maxTokens) return;
    const [oldest] = this.#kept.keys();
    if (oldest !== undefined) this.#kept.delete(oldest);
  }
}

/** Whether the other side is not there, or too busy; what it refuses, it refuses. */
export function isAway(error: unknown): boolean {
  return (
    error instanceof AppError &&
    (error.code === 'unavailable' || error.code === 'deadline-exceeded' || error.code === 'exhausted')
  );
}
