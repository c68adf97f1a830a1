import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { join } from 'node:path';

/** What a child says by itself or in answer; `done` answers a request. */
interface Said {
  readonly kind: string;
}

/** How long anything may take that a child is waited for. */
const LIMIT_MS = 180_000;

/** A process beside this one: a module of this directory that takes requests and says things. */
export class Child<Request extends object, Reply extends Said> {
  readonly #process: ChildProcess;
  readonly #listeners = new Set<(reply: Reply) => void>();
  readonly #module: string;
  #ended = false;

  constructor(module: string, closers: (() => unknown)[]) {
    this.#module = module;
    this.#process = fork(join(import.meta.dirname, module));
    closers.unshift(() => this.end());
    this.#process.on('message', (reply: Reply) => {
      for (const listener of [...this.#listeners]) listener(reply);
    });
    this.#process.on('exit', (code, signal) => {
      if (!this.#ended) throw new Error(`${module} has ended by itself: ${signal ?? code}`);
    });
  }

  /** Resolves with the answer. One at a time. */
  async ask(request: Request): Promise<Extract<Reply, { readonly kind: 'done' }>> {
    const done = this.hear('done');
    this.#process.send(request);
    return await done;
  }

  /** Resolves with what is said, the last of so many times. */
  hear<Kind extends Reply['kind']>(kind: Kind, times = 1): Promise<Extract<Reply, { readonly kind: Kind }>> {
    return new Promise((resolve, reject) => {
      let left = times;
      const limit = setTimeout(
        () => reject(new Error(`${this.#module} did not say ${kind}: ${left} are missing`)),
        LIMIT_MS,
      );
      const listener = (reply: Reply) => {
        if (reply.kind !== kind) return;
        left -= 1;
        if (left > 0) return;
        clearTimeout(limit);
        this.#listeners.delete(listener);
        resolve(reply as Extract<Reply, { readonly kind: Kind }>);
      };
      this.#listeners.add(listener);
    });
  }

  end(): void {
    this.#ended = true;
    this.#process.kill();
  }
}
