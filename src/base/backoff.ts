import type { RandomBytes } from './random.ts';
import { secureRandom, uniform } from './random.ts';

export interface BackoffOptions {
  /** First delay, in milliseconds. Default 100. */
  readonly initialMs?: number;
  /** Longest delay, in milliseconds. Default 10,000. */
  readonly maxMs?: number;
  readonly random?: RandomBytes;
}

/** Exponential back-off with full jitter: each delay is uniform between half and all of initial × 2^n, capped. */
export class Backoff {
  readonly #initialMs: number;
  readonly #maxMs: number;
  readonly #random: RandomBytes;
  #failures = 0;

  constructor(options: BackoffOptions = {}) {
    this.#initialMs = options.initialMs ?? 100;
    this.#maxMs = options.maxMs ?? 10_000;
    this.#random = options.random ?? secureRandom;
  }

  /** The delay before the next try. */
  nextMs(): number {
    const full = Math.min(this.#maxMs, this.#initialMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return full * (0.5 + 0.5 * uniform(this.#random));
  }

  /** A try succeeded. */
  reset(): void {
    this.#failures = 0;
  }
}
