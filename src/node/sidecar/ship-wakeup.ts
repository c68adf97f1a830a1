/** Wakes whoever waits for something to change. */
export class Wakeup {
  #count = 0;
  readonly #waiting = new Set<() => void>();

  /** How often it was woken: to be read before looking at what may change. */
  get count(): number {
    return this.#count;
  }

  wake(): void {
    this.#count += 1;
    for (const resume of [...this.#waiting]) resume();
  }

  /** Resolves when `count` is greater than `seen`; rejects with the signal's reason. */
  after(seen: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#count > seen) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = () => {
        this.#waiting.delete(onWake);
        signal.removeEventListener('abort', onAbort);
      };
      const onWake = () => {
        end();
        resolve();
      };
      const onAbort = () => {
        end();
        reject(signal.reason);
      };
      this.#waiting.add(onWake);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}
