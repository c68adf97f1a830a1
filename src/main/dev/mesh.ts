import type { World } from '../../cli/world.ts';
import type { ChildSpec } from './child.ts';
import { Child } from './child.ts';
import type { DevDirectory } from './directory.ts';

/** Stopped in this order: first who calls, then who carries the calls and what was recorded of them, then who takes the record. */
const stopOrder = ['service', 'sidecar', 'agent', 'server'] as const;
export type Role = (typeof stopOrder)[number];

/** All processes of the demo. */
export class Mesh {
  readonly #world: World;
  readonly #directory: DevDirectory;
  readonly #children: { readonly role: Role; readonly child: Child }[] = [];

  constructor(world: World, directory: DevDirectory) {
    this.#world = world;
    this.#directory = directory;
  }

  /** Starts them together. Resolves when all serve; rejects when one does not, or when the user wants to stop. */
  async start(role: Role, specs: readonly ChildSpec[]): Promise<void> {
    const { signal, clock, stderr } = this.#world;
    signal.throwIfAborted();
    const started = specs.map((spec) => {
      const child = new Child(spec, {
        env: childEnv(this.#world.env, this.#directory),
        cwd: this.#world.startedIn,
        logs: this.#directory.logs,
        clock,
        signal,
        notify: (text) => stderr(`! ${text.charAt(0).toUpperCase()}${text.slice(1)}\n`),
      });
      this.#children.push({ role, child });
      return child.start();
    });
    await orAborted(Promise.all(started), signal);
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    for (const role of stopOrder) {
      await Promise.all(this.#children.filter((each) => each.role === role).map((each) => each.child.stop()));
    }
  }
}

/** The environment of this process without our own variables: they would be settings of the child. */
function childEnv(env: World['env'], directory: DevDirectory): Record<string, string | undefined> {
  const kept = Object.entries(env).filter(([name]) => !name.startsWith('WRIT_'));
  // Compiled code is kept where only we can write: whoever could change it would run as us.
  return { ...Object.fromEntries(kept), NODE_COMPILE_CACHE: directory.cache };
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
