import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer as createHttpServer } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { RateLimit } from '../../base/rate-limit.ts';
import type { Watch } from '../../base/watch.ts';
import { MAX_ADD_CHECKPOINT_BYTES } from '../../core/audit/add-checkpoint.ts';
import type { Witness } from './witness.ts';

export interface ServeWitnessOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly witness: Pick<Witness, 'addCheckpoint' | 'latest'>;
  /** Certificate and key; undefined: plain HTTP, for a proxy on this machine. */
  readonly tls: Watch<SecureContextOptions> | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of one address, requests a second, and how many at once. Default 20 and 100: a log sends two. */
  readonly rate?: { readonly perSecond: number; readonly burst: number };
}

export interface ServedWitness {
  readonly port: number;
  /** Ends connections too. Idempotent. */
  close(): Promise<void>;
}

/** Anybody may ask, so nobody may keep much of us. */
const MAX_CONNECTIONS = 200;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 30_000;
const MAX_HEADER_BYTES = 8 * 1024;

/**
 * A witness over HTTP/1.1 (c2sp.org/tlog-witness): `POST /add-checkpoint`, and `GET /<SHA-256 of the origin, hex>/checkpoint`
 * for whoever wants to see what it has cosigned. No authentication: a checkpoint that its log has signed speaks for itself.
 *
 * @throws AppError `unavailable` when the address cannot be had
 */
export async function serveWitness(o: ServeWitnessOptions): Promise<ServedWitness> {
  const limits = { maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: KEEP_ALIVE_MS };
  const rate = new RateLimit({ ...(o.rate ?? { perSecond: 20, burst: 100 }), clock: o.clock });
  const onRequest: RequestListener = (request, response) => void handle(request, response, o, rate);
  const server =
    o.tls === undefined
      ? createHttpServer(limits, onRequest)
      : createHttpsServer(
          { ...limits, minVersion: 'TLSv1.2', ...o.tls.current, ALPNProtocols: ['http/1.1'] },
          onRequest,
        );
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.maxConnections = MAX_CONNECTIONS;
  server.on('clientError', (_error, socket) => socket.destroy());
  const stop = o.tls?.subscribe((tls) => (server as HttpsServer).setSecureContext({ minVersion: 'TLSv1.2', ...tls }));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new AppError('unavailable', `Cannot listen on ${o.host}:${o.port}: ${cause.message}.`, { cause })),
    );
    server.listen(o.port, o.host, resolve);
  });
  let closing: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      stop?.();
      closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closing;
    },
  };
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  o: ServeWitnessOptions,
  rate: RateLimit,
): Promise<void> {
  try {
    rate.take(request.socket.remoteAddress ?? '');
    await route(request, response, o.witness);
  } catch (error) {
    if (request.destroyed && !request.complete) return;
    if (error instanceof AppError && error.code === 'exhausted') {
      response.setHeader('retry-after', error.retryAfterSeconds ?? 1);
      send(response, 429, `${error.message}\n`);
    } else if (error instanceof AppError && error.code === 'too-large') send(response, 413, `${error.message}\n`);
    else {
      o.logger.error({ err: error }, 'a checkpoint cannot be cosigned: what was seen cannot be made durable');
      send(response, 503, 'The witness cannot write down what it would cosign. Try again later.\n');
    }
  } finally {
    // What is left of a body that nobody wanted.
    request.resume();
  }
}

async function route(
  request: IncomingMessage,
  response: ServerResponse,
  witness: ServeWitnessOptions['witness'],
): Promise<void> {
  const path = request.url?.split('?', 1)[0] ?? '';
  if (path === '/add-checkpoint') {
    if (request.method !== 'POST') return refuseMethod(response, 'POST');
    const { status, contentType, body } = await witness.addCheckpoint(await readBody(request));
    return send(response, status, body, contentType);
  }
  const name = /^\/([0-9a-f]{64})\/checkpoint$/.exec(path)?.[1];
  const note = name === undefined ? undefined : witness.latest(name);
  if (note === undefined) return send(response, 404, 'There is nothing here.\n');
  if (request.method !== 'GET' && request.method !== 'HEAD') return refuseMethod(response, 'GET, HEAD');
  send(response, 200, note);
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  // Kept open: who sends too much is told so.
  for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MAX_ADD_CHECKPOINT_BYTES)
      throw new AppError('too-large', `The body is longer than ${MAX_ADD_CHECKPOINT_BYTES} bytes.`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function refuseMethod(response: ServerResponse, allow: string): void {
  response.setHeader('allow', allow);
  send(response, 405, `Only ${allow}.\n`);
}

function send(
  response: ServerResponse,
  status: number,
  body: string | Buffer,
  contentType = 'text/plain; charset=utf-8',
): void {
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body;
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': bytes.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    // After a refusal with a body half read there is no next request.
    ...(status === 413 && { connection: 'close' }),
  });
  response.end(response.req.method === 'HEAD' ? undefined : bytes);
}
