import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpServer } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';

/** A small public document, as it is now. */
export interface PublicDocument {
  readonly body: string;
  readonly contentType: string;
  /** How long it may be kept, in seconds. */
  readonly maxAgeSeconds: number;
}

export interface PublicDocumentsOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Certificate and key; a change applies to the next connection. undefined: plain HTTP, for a proxy on this machine. */
  readonly tls: Watch<SecureContextOptions> | undefined;
  /** By path. Asked for each request. */
  readonly documents: ReadonlyMap<string, () => PublicDocument>;
  readonly logger: Logger;
}

export interface PublicDocuments {
  readonly port: number;
  /** Ends connections too. Idempotent. */
  close(): Promise<void>;
}

/** Everybody may ask, so nobody may keep much of us: a request is a line, a few headers and no body. */
const MAX_CONNECTIONS = 500;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 5_000;
const MAX_HEADER_BYTES = 8 * 1024;

/**
 * TLS as Mozilla's "intermediate" asks for it: 1.2 with forward secrecy and authenticated encryption, or 1.3.
 * (SPIFFE_Federation.md §5: servers meet it.)
 */
const intermediate: SecureContextOptions = Object.freeze({
  minVersion: 'TLSv1.2',
  ciphers: [
    'TLS_AES_128_GCM_SHA256',
    'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305',
    'ECDHE-RSA-CHACHA20-POLY1305',
  ].join(':'),
  ecdhCurve: 'X25519:P-256:P-384',
});

/**
 * Serves public documents to anybody: GET and HEAD only, no authentication at any level, nothing that a request says is
 * stored. Throws `unavailable` when the address cannot be had.
 */
export async function servePublicDocuments(o: PublicDocumentsOptions): Promise<PublicDocuments> {
  const limits = { maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: KEEP_ALIVE_MS };
  const onRequest = (request: IncomingMessage, response: ServerResponse) => answer(request, response, o);
  const server: HttpServer | HttpsServer =
    o.tls === undefined
      ? createHttpServer(limits, onRequest)
      : createHttpsServer({ ...limits, ...intermediate, ...o.tls.current, ALPNProtocols: ['http/1.1'] }, onRequest);
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.maxConnections = MAX_CONNECTIONS;
  server.on('clientError', (_error, socket) => socket.destroy());
  const stop = o.tls?.subscribe((tls) => renew(server as HttpsServer, tls, o.logger));
  await listen(server, o);
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

function renew(server: HttpsServer, tls: SecureContextOptions, logger: Logger): void {
  try {
    server.setSecureContext({ ...intermediate, ...tls });
  } catch (error) {
    logger.error({ err: error }, 'a new certificate cannot be used; the one before goes on');
  }
}

function answer(request: IncomingMessage, response: ServerResponse, { documents }: PublicDocumentsOptions): void {
  // Also a body that nobody asked for.
  request.resume();
  const path = request.url?.split('?', 1)[0] ?? '';
  const document = documents.get(path);
  response.setHeader('x-content-type-options', 'nosniff');
  if (document === undefined) return void plain(response, 404, 'Not found.\n');
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    return void plain(response, 405, 'Only GET.\n');
  }
  const { body, contentType, maxAgeSeconds } = document();
  const bytes = Buffer.from(body, 'utf8');
  response.writeHead(200, {
    'content-type': contentType,
    'content-length': bytes.length,
    'cache-control': maxAgeSeconds === 0 ? 'no-cache' : `public, max-age=${maxAgeSeconds}`,
    // Public by nature, and read by pages of others too.
    'access-control-allow-origin': '*',
  });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

function plain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' });
  response.end(text);
}

function listen(server: HttpServer | HttpsServer, { host, port }: PublicDocumentsOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: Error) => {
      reject(new AppError('unavailable', `Cannot listen on ${host}:${port}: ${cause.message}.`, { cause }));
    };
    server.once('error', refuse);
    server.listen(port, host, () => {
      server.off('error', refuse);
      resolve();
    });
  });
}
