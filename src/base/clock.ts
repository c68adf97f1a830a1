/** Time comes in as an argument, so that tests own it. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls `fn` once after `ms`; the returned function cancels it. A pending timer does not keep the process alive. */
  after(ms: number, fn: () => void): () => void;
}

/**
 * A timer sleeps so long at a time, in milliseconds, and then looks at the time of day: those of the operating system stand
 * still while a machine is suspended, and what an expired certificate needs must not wait as long again. It also makes delays
 * possible that are longer than a timer can be (24.8 days).
 */
const SLICE_MS = 15_000;

export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, fn) {
    const due = Date.now() + ms;
    const dueByUptime = performance.now() + ms;
    // By whichever comes first: a clock that is set back does not hold anything up.
    const left = () => Math.min(due - Date.now(), dueByUptime - performance.now());
    const wake = () => {
      if (left() > 0) arm();
      else fn();
    };
    let timer: NodeJS.Timeout;
    const arm = () => {
      const wait = Math.max(left(), 0);
      // The last slice is not looked at again: timers may be a fraction of a millisecond early.
      timer = wait > SLICE_MS ? setTimeout(wake, SLICE_MS) : setTimeout(fn, wait);
      timer.unref();
    };
    arm();
    return () => clearTimeout(timer);
  },
};

/** Resolves after `ms`, or at once when `signal` aborts; it never rejects. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    signal?.addEventListener('abort', done, { once: true });
  });
}
