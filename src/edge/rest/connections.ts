import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * The connections of a server, so that it can stop without waiting for those on which nothing is asked: Node's own
 * `closeIdleConnections` keeps connections that have not carried a request yet, such as browsers open in advance.
 */
export class Connections {
  /** Answers that are under way, by connection. */
  readonly #busy = new Map<Socket, number>();
  #stopping = false;

  constructor(server: Server) {
    server.on('connection', (socket: Socket) => {
      if (this.#stopping) socket.destroy();
      this.#busy.set(socket, 0);
      socket.once('close', () => this.#busy.delete(socket));
    });
    server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
      this.#count(socket, 1);
      response.once('close', () => this.#count(socket, -1));
    });
  }

  /** Closes every connection as soon as nothing is under way on it. */
  stop(): void {
    this.#stopping = true;
    for (const [socket, busy] of this.#busy) if (busy === 0) socket.destroySoon();
  }

  /** Closes every connection at once. */
  cut(): void {
    for (const socket of this.#busy.keys()) socket.destroy();
  }

  #count(socket: Socket, change: 1 | -1): void {
    const before = this.#busy.get(socket);
    if (before === undefined) return;
    this.#busy.set(socket, before + change);
    if (this.#stopping && before + change === 0) socket.destroySoon();
  }
}
