import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';

export interface KeptOptions<T> {
  /** Reads and checks it. Rejects when it cannot be read or is not good. */
  readonly read: () => Promise<T>;
  /** For the log: what it is. */
  readonly what: string;
  /** Read again when it is older than that, in the background. Default 5 min. */
  readonly maxAgeMs?: number;
  /** Never read more often than that, whoever asks. Default 10 s. */
  readonly minAgeMs?: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Something that others publish and change (keys, roots), as it was when it was last good: when it cannot be read any more, what
 * is known stays in force. Whoever asks waits only for the first time.
 */
export class Kept<T> {
  readonly #o: KeptOptions<T>;
  #value: { readonly of: T } | undefined;
  #triedAt = Number.NEGATIVE_INFINITY;
  #failure: unknown;
  #reading: Promise<void> | undefined;

  constructor(options: KeptOptions<T>) {
    this.#o = options;
  }

  /** Rejects as `read` does while nothing good has ever been read. */
  async get(): Promise<T> {
    const age = this.#age();
    if (this.#value === undefined) await this.#read();
    else if (age >= (this.#o.maxAgeMs ?? 5 * 60_000)) void this.#read();
    if (this.#value === undefined) throw this.#failure;
    return this.#value.of;
  }

  /** What there is after reading again, unless that was done a moment ago: an attacker may be why we are asked. */
  async newer(): Promise<T> {
    await this.#read();
    return await this.get();
  }

  #age(): number {
    // A clock that was set back makes nothing young.
    return Math.abs(this.#o.clock.now() - this.#triedAt);
  }

  #read(): Promise<void> {
    if (this.#reading !== undefined) return this.#reading;
    if (this.#age() < (this.#o.minAgeMs ?? 10_000)) return Promise.resolve();
    this.#triedAt = this.#o.clock.now();
    this.#reading = this.#o.read().then(
      (value) => {
        this.#value = { of: value };
      },
      (error: unknown) => {
        this.#failure = error;
        this.#o.logger.warn({ err: error, what: this.#o.what }, 'cannot be read; what was known stays in force');
      },
    );
    return this.#reading.finally(() => {
      this.#reading = undefined;
    });
  }
}
