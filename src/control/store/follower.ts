import type { Clock } from '../../base/clock.ts';

export interface FollowerOptions {
  /** Brings what is known up to date. */
  readonly read: () => Promise<void>;
  /** It could not be read; it is tried again after `retryMs`, or sooner when something changes. */
  readonly failed: (error: unknown) => void;
  readonly retryMs: number;
  readonly clock: Clock;
}

/**
 * Reads again whenever something has changed: one round at a time, however many changes come meanwhile, and at least one
 * that begins after the last of them.
 */
export class Follower {
  readonly #o: FollowerOptions;
  #reading: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #cancelRetry: () => void = () => undefined;

  constructor(options: FollowerOptions) {
    this.#o = options;
  }

  /** A `read` that goes on all the same must change nothing any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Resolves when everything that had changed before the call has been read, or could not be. */
  follow(): Promise<void> {
    if (this.#closed) return this.#reading ?? Promise.resolve();
    this.#again = true;
    this.#reading ??= this.#readUntilSettled();
    return this.#reading;
  }

  /** Resolves when no round runs any more. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRetry();
    await this.#reading;
  }

  async #readUntilSettled(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      this.#cancelRetry();
      await this.#readOnce();
    }
    // In the same breath as the look at #again: whoever asks from now on starts another round.
    this.#reading = undefined;
  }

  async #readOnce(): Promise<void> {
    const { clock, read, retryMs, failed } = this.#o;
    try {
      await read();
    } catch (error) {
      if (this.#closed) return;
      failed(error);
      this.#cancelRetry = clock.after(retryMs, () => void this.follow());
    }
  }
}
