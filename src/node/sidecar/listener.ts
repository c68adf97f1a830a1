import type { Server, Socket } from 'node:net';
import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Stops accepting, lets what is in flight finish for at most `ms`, then cuts what is left. */
  drain(ms: number): Promise<void>;
}

/** Listens, or says in one line why that cannot be. Port 0 chooses a free one. */
export async function listen(server: Server, o: { readonly host: string; readonly port: number }): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    const onError = (cause: Error) => {
      const why = reason(cause) === 'EADDRINUSE' ? 'something else listens there' : reason(cause);
      reject(new AppError('unavailable', `Cannot listen on ${o.host}:${o.port}: ${why}.`, { cause }));
    };
    server.once('error', onError);
    server.listen(o.port, o.host, () => {
      server.off('error', onError);
      resolve();
    });
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : o.port;
}

/** Keeps account of the connections of one server, so that none is left behind. */
export class Connections {
  readonly #open = new Set<Socket>();

  add(socket: Socket): void {
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
  }

  get size(): number {
    return this.#open.size;
  }

  /** Closes the server and waits until every connection has gone, at most `ms`; then cuts them. */
  async end(server: Server, ms: number): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([closed, late]);
    clearTimeout(timer);
    for (const socket of this.#open) socket.destroy();
    await closed;
  }
}
