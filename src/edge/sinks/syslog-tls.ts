import { once } from 'node:events';
import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { connect } from 'node:tls';
import { AppError } from '../../base/errors.ts';
import type { SinkItem } from '../../control/ledger/sinks/item.ts';
import type { Sink } from '../../control/ledger/sinks/sink.ts';

export interface SyslogSinkOptions {
  readonly host: string;
  /** 6514 is that of syslog over TLS. */
  readonly port: number;
  /** Messages of RFC 5424. */
  readonly encode: (item: SinkItem) => readonly string[];
  /** PEM of the authorities that the receiver's certificate may be from. Default: those of the system. */
  readonly ca?: string;
  readonly client?: { readonly certificate: string; readonly key: string };
}

/**
 * Syslog over TLS with octet counting (RFC 5425). The protocol has no acknowledgement: what the operating system has taken counts as
 * delivered, and is lost when the receiver goes away before it has read it.
 */
export class SyslogSink implements Sink {
  readonly #o: SyslogSinkOptions;
  #socket: TLSSocket | undefined;

  constructor(options: SyslogSinkOptions) {
    this.#o = options;
  }

  async deliver(items: readonly SinkItem[], signal: AbortSignal): Promise<void> {
    const frames = Buffer.concat(items.flatMap((item) => this.#o.encode(item).map(frameOf)));
    if (frames.length === 0) return;
    try {
      const socket = this.#socket ?? (await this.#connect(signal));
      await write(socket, frames, signal);
    } catch (cause) {
      await this.close();
      throw cause instanceof AppError
        ? cause
        : new AppError('unavailable', `The syslog receiver cannot be written: ${nameOf(cause)}.`, { cause });
    }
  }

  close(): Promise<void> {
    this.#socket?.destroy();
    this.#socket = undefined;
    return Promise.resolve();
  }

  async #connect(signal: AbortSignal): Promise<TLSSocket> {
    const { host, port, ca, client } = this.#o;
    const socket = connect({
      host,
      port,
      ...(isIP(host) === 0 && { servername: host }),
      minVersion: 'TLSv1.2',
      rejectUnauthorized: true,
      ...(ca !== undefined && { ca }),
      ...(client !== undefined && { cert: client.certificate, key: client.key }),
    });
    const forget = () => {
      if (this.#socket === socket) this.#socket = undefined;
      socket.destroy();
    };
    socket.on('error', forget);
    // A receiver that says goodbye gets nothing more: what was written would be lost.
    socket.on('end', forget);
    socket.on('close', forget);
    // It has nothing to say.
    socket.resume();
    try {
      await once(socket, 'secureConnect', { signal });
    } catch (error) {
      socket.destroy();
      throw error;
    }
    socket.setKeepAlive(true, 30_000);
    this.#socket = socket;
    return socket;
  }
}

/** RFC 5425 §4.3: MSG-LEN SP SYSLOG-MSG. */
export function frameOf(message: string): Buffer {
  const bytes = Buffer.from(message, 'utf8');
  return Buffer.concat([Buffer.from(`${bytes.length} `, 'ascii'), bytes]);
}

function write(socket: TLSSocket, bytes: Buffer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      signal.removeEventListener('abort', onAbort);
      socket.removeListener('close', onClose);
    };
    const onAbort = () => {
      end();
      reject(signal.reason);
    };
    const onClose = () => {
      end();
      reject(new AppError('unavailable', 'The syslog receiver has ended the connection.'));
    };
    if (socket.destroyed) return onClose();
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('close', onClose);
    socket.write(bytes, (error) => {
      end();
      if (error) reject(error);
      else resolve();
    });
  });
}

function nameOf(error: unknown): string {
  if (error instanceof Error) return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  return 'unknown error';
}
