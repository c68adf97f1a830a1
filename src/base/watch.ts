/**
 * A current value and its changes. Level-based: whoever is slow sees the latest value, never a queue of old ones.
 * Each watch has one writer, who holds the `WatchSource`; everybody else holds the `Watch`.
 */
export interface Watch<T> {
  readonly current: T;
  /** Grows by one with every change. */
  readonly version: number;
  /** Calls `listener` after every change until the returned function is called; not for the value that is there already. */
  subscribe(listener: (value: T) => void): () => void;
  /** Resolves with the latest value as soon as the version is greater than `after`; rejects with the signal's reason. */
  next(after: number, signal?: AbortSignal): Promise<{ readonly value: T; readonly version: number }>;
}

export class WatchSource<T> implements Watch<T> {
  #current: T;
  #version = 0;
  readonly #listeners = new Set<(value: T) => void>();

  constructor(initial: T) {
    this.#current = initial;
  }

  get current(): T {
    return this.#current;
  }

  get version(): number {
    return this.#version;
  }

  set(value: T): void {
    this.#current = value;
    this.#version += 1;
    // A copy: a listener may unsubscribe itself or others while it is called.
    for (const listener of [...this.#listeners]) listener(value);
  }

  subscribe(listener: (value: T) => void): () => void {
    // Wrapped, so that the same function subscribed twice is two subscriptions.
    const own = (value: T) => listener(value);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  next(after: number, signal?: AbortSignal): Promise<{ readonly value: T; readonly version: number }> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#version > after) return Promise.resolve({ value: this.#current, version: this.#version });
    return new Promise((resolve, reject) => {
      const end = () => {
        unsubscribe();
        signal?.removeEventListener('abort', onAbort);
      };
      const onAbort = () => {
        end();
        reject(signal?.reason);
      };
      const unsubscribe = this.subscribe((value) => {
        end();
        resolve({ value, version: this.#version });
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }
}
