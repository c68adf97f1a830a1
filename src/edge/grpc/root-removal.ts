import type { Socket } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { fingerprint } from '../../core/identity/bundle.ts';

/** What takes connections of one generation: the gRPC library's connection injector. */
export interface Connections {
  injectConnection(socket: Socket): void;
  /** Tells every connection to end when its calls have; cuts it after `graceMs`. */
  drain(graceMs: number): void;
}

export interface RootRemovalOptions {
  readonly bundle: Watch<TrustBundle>;
  readonly open: () => Connections;
  readonly graceMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Honest callers hear of a root that has left by themselves and come back within 30 s, each at a moment of its own
 * (`node/sidecar/control-plane.ts`); whoever is still there after that is told to.
 */
const RETIRED_AFTER_MS = 45_000;

/**
 * TLS looked at the roots when a connection was made: one that was made below a root which is not trusted any more has to be
 * made anew. At once when that root was tainted, since then somebody else may hold its key. Where it was retired in the course
 * of a rotation nothing below it is alive, and a thousand callers need not come back in the same second: connections that are
 * made from now on are of the next generation, and those that were made before are ended a little later.
 *
 * Not told apart: a root that was tainted and revoked between two looks of this replica at the store. It counts as retired.
 */
export class RootRemoval {
  readonly #o: RootRemovalOptions;
  readonly #unsubscribe: () => void;
  /** Earlier generations, and how to let them be. */
  readonly #retiring = new Map<Connections, () => void>();
  #roots: readonly Buffer[];
  /** Fingerprints of all that were ever said to be tainted. */
  readonly #tainted = new Set<string>();
  #connections: Connections;

  constructor(o: RootRemovalOptions) {
    this.#o = o;
    this.#connections = o.open();
    this.#roots = o.bundle.current.roots;
    this.#note(o.bundle.current);
    this.#unsubscribe = o.bundle.subscribe((bundle) => this.#changed(bundle));
  }

  inject(socket: Socket): void {
    this.#connections.injectConnection(socket);
  }

  close(): void {
    this.#unsubscribe();
    for (const cancel of this.#retiring.values()) cancel();
  }

  #changed(bundle: TrustBundle): void {
    this.#note(bundle);
    const removed = this.#roots.filter((old) => !bundle.roots.some((root) => root.equals(old)));
    this.#roots = bundle.roots;
    if (removed.length === 0) return;
    const { clock, logger } = this.#o;
    const before = this.#connections;
    this.#connections = this.#o.open();
    this.#retiring.set(
      before,
      clock.after(RETIRED_AFTER_MS, () => this.#end(before)),
    );
    if (removed.some((root) => this.#tainted.has(fingerprint(root)))) {
      logger.warn('a tainted root left the bundle: every caller has to prove its identity again, now');
      for (const connections of [...this.#retiring.keys()]) this.#end(connections);
    } else logger.info('a root was retired: connections that were made before end within a minute');
  }

  #end(connections: Connections): void {
    this.#retiring.get(connections)?.();
    this.#retiring.delete(connections);
    connections.drain(this.#o.graceMs);
  }

  #note({ tainted }: TrustBundle): void {
    for (const name of tainted ?? []) this.#tainted.add(name);
  }
}
