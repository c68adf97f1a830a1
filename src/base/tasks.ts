/**
 * The life of a process: things are opened in dependency order, tasks run until one fails or the process is told to stop,
 * then everything is closed in reverse order.
 */
export interface Task {
  readonly name: string;
  /** Runs until `signal` aborts. Returning earlier is fine; throwing stops everything else. */
  run(signal: AbortSignal): Promise<void>;
}

interface Closer {
  readonly name: string;
  close(): void | Promise<void>;
}

export class Lifetime {
  readonly #closers: Closer[] = [];
  #closing: Promise<void> | undefined;

  /** Registers how to close what was just opened. Closed in reverse order of registration. */
  defer(name: string, close: () => void | Promise<void>): void {
    this.#closers.push({ name, close });
  }

  /** Closes everything, also when a closer throws; then throws what was thrown. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const errors: unknown[] = [];
    for (const closer of this.#closers.reverse()) {
      try {
        await closer.close();
      } catch (error) {
        errors.push(new Error(`closing ${closer.name} failed`, { cause: error }));
      }
    }
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, 'closing failed');
  }
}

/** Runs all tasks; the first failure (or `signal`) aborts the others. Resolves when all have ended, throws the first failure. */
export async function runTasks(tasks: readonly Task[], signal: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  let failed = false;
  let failure: unknown;
  await Promise.all(
    tasks.map(async (task) => {
      try {
        await task.run(stop.signal);
      } catch (error) {
        if (stop.signal.aborted && isAbort(error, stop.signal)) return;
        if (!failed) {
          failed = true;
          failure = error;
        }
        stop.abort(error);
      }
    }),
  );
  signal.removeEventListener('abort', onAbort);
  if (failed) throw failure;
}

/** Whether `error` is only the news that `signal` was aborted. */
export function isAbort(error: unknown, signal: AbortSignal): boolean {
  return error === signal.reason || (error instanceof Error && error.name === 'AbortError');
}
