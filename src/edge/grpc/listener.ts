import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';

export interface Listener {
  readonly port: number;
  /** Takes no new connections; resolves when the last of those that exist has ended. */
  stop(): Promise<void>;
  /** Cuts what is still connected, in whatever state. */
  cut(): void;
}

/** Connections that wait to be accepted: sidecars come back all at once. The system may allow less. */
const BACKLOG = 4096;

/**
 * The TCP side of the server. Our own, so that the number of connections is bounded, and so that one which never finished its
 * TLS handshake can be cut when the server stops: the gRPC library knows of connections only after that.
 *
 * @throws AppError `unavailable` when the address cannot be listened on
 */
export async function listen(options: {
  readonly host: string;
  readonly port: number;
  readonly maxConnections: number;
  readonly onConnection: (socket: Socket) => void;
}): Promise<Listener> {
  const { host } = options;
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // The TLS layer above hears of it too, and ends the connection.
    socket.on('error', () => undefined);
    options.onConnection(socket);
  });
  server.maxConnections = options.maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new AppError(
          'unavailable',
          `Cannot listen on ${host}:${options.port}: ${reason(cause)}. Choose another port.`,
          {
            cause,
          },
        ),
      ),
    );
    server.listen({ port: options.port, host, backlog: BACKLOG }, resolve);
  });
  const closed = new Promise<void>((resolve) => server.once('close', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    stop() {
      server.close();
      return closed;
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
  };
}
