import { Agent } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import type { Limits } from './limits.ts';
import type { MeshConnection } from './mesh-connect.ts';

/**
 * HTTP/1.1 connections to one endpoint, kept open between calls. A connection is given back to the pool only while both
 * sides' certificates allow it.
 */
export class MeshAgent extends Agent {
  readonly #open: () => Promise<MeshConnection>;
  readonly #clock: Clock;
  readonly #goodUntil = new WeakMap<Duplex, number>();
  #draining = false;

  constructor(open: () => Promise<MeshConnection>, clock: Clock, limits: Limits) {
    super({
      keepAlive: true,
      timeout: limits.meshIdleMs,
      maxSockets: limits.maxConnectionsPerEndpoint,
      maxFreeSockets: limits.maxConnectionsPerEndpoint,
      scheduling: 'lifo',
    });
    this.#open = open;
    this.#clock = clock;
  }

  override createConnection(
    _options: unknown,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | undefined {
    this.#open().then(
      ({ socket, peer }) => {
        this.#goodUntil.set(socket, peer.notAfter);
        const cancel = this.#clock.after(peer.notAfter - this.#clock.now(), () => this.#dropIfFree(socket));
        socket.once('close', cancel);
        callback?.(null, socket);
      },
      // Node's type asks for a stream even with an error; Node itself does not.
      (error: unknown) => (callback as ((error: unknown) => void) | undefined)?.(error),
    );
    return undefined;
  }

  override keepSocketAlive(socket: Duplex): boolean {
    if (this.#draining || this.#clock.now() >= (this.#goodUntil.get(socket) ?? 0)) return false;
    // What Node's own answer is: it also sets the idle timeout, and heeds the peer's Keep-Alive field.
    return super.keepSocketAlive(socket) as unknown as boolean;
  }

  /** Takes no new work: idle connections close now, the others with the answer they are waiting for. */
  drain(): void {
    this.#draining = true;
    for (const sockets of Object.values(this.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  }

  #dropIfFree(socket: Duplex): void {
    for (const sockets of Object.values(this.freeSockets)) {
      if (sockets?.includes(socket as never)) socket.destroy();
    }
  }
}
