import { Agent } from 'node:http';
import type { ClientHttp2Session } from 'node:http2';
import { connect as connectHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { AppError } from '../../base/errors.ts';
import { joinAddress } from '../agent/address.ts';
import type { Limits } from './limits.ts';
import type { Http1Target } from './relay-http1.ts';

/** The connections of one inbound listener to the application beside it, kept open between calls. */
export class Application {
  readonly http1: Http1Target;
  readonly #host: string;
  readonly #port: number;
  readonly #limits: Limits;
  #session: ClientHttp2Session | undefined;
  #connecting: Promise<ClientHttp2Session> | undefined;

  constructor(o: { readonly host: string; readonly port: number }, limits: Limits) {
    this.#host = o.host;
    this.#port = o.port;
    this.#limits = limits;
    const agent = new Agent({
      keepAlive: true,
      timeout: limits.applicationIdleMs,
      maxSockets: limits.maxConnectionsPerEndpoint,
      maxFreeSockets: limits.maxConnectionsPerEndpoint,
      scheduling: 'lifo',
    });
    this.http1 = { agent, host: o.host, port: o.port };
  }

  get port(): number {
    return this.#port;
  }

  /** HTTP/2 with prior knowledge (RFC 9113 §3.3). Rejects with `unavailable` when the application does not speak it. */
  http2(): ClientHttp2Session | Promise<ClientHttp2Session> {
    const session = this.#session;
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  tcp(): Socket {
    return connect({ host: this.#host, port: this.#port, noDelay: true, allowHalfOpen: true });
  }

  close(): void {
    this.http1.agent.destroy();
    this.#session?.close();
  }

  #open(): Promise<ClientHttp2Session> {
    return new Promise((resolve, reject) => {
      const session = connectHttp2(`http://${joinAddress(this.#host, this.#port)}`, {
        settings: { enablePush: false, initialWindowSize: 1024 * 1024 },
        maxSessionMemory: 64,
      });
      const refuse = (cause: unknown) => {
        clearTimeout(timer);
        session.destroy();
        const message = 'The application did not answer in HTTP/2 without TLS (h2c), which this call needs.';
        reject(new AppError('unavailable', message, { cause }));
      };
      // An application that does not know HTTP/2 may also just wait for more.
      const timer = setTimeout(() => refuse(new Error('no SETTINGS frame')), this.#limits.connectTimeoutMs);
      session.on('error', refuse);
      session.once('close', () => {
        refuse(new Error('closed'));
        if (this.#session === session) this.#session = undefined;
      });
      session.once('goaway', () => {
        if (this.#session === session) this.#session = undefined;
      });
      session.once('remoteSettings', () => {
        clearTimeout(timer);
        session.setTimeout(this.#limits.meshIdleMs, () => session.close());
        this.#session = session;
        resolve(session);
      });
    });
  }
}
