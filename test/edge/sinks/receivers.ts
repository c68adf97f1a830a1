import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { createServer as createTlsServer } from 'node:tls';
import { onTestFinished } from 'vitest';
import { makeWebCertificate } from '../../support/web-certificate.ts';

let shared: ReturnType<typeof makeWebCertificate> | undefined;
/** Of every receiver of a test file. */
export const certificate = () => {
  shared ??= makeWebCertificate();
  return shared;
};

export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface HttpsReceiver {
  readonly url: URL;
  readonly ca: string;
  readonly received: Received[];
  /** What is answered next. */
  answer: (request: Received, response: ServerResponse) => void;
}

/** Speaks HTTP over TLS, and keeps what it gets. */
export async function httpsReceiver(): Promise<HttpsReceiver> {
  const { cert, key } = await certificate();
  const received: Received[] = [];
  const server = createServer({ cert, key }, (request, response) => {
    void readAll(request).then((body) => {
      const one = { path: request.url ?? '', headers: request.headers, body };
      received.push(one);
      receiver.answer(one, response);
    });
  });
  const receiver: HttpsReceiver = {
    url: new URL(`https://127.0.0.1:${await listen(server)}/in`),
    ca: cert,
    received,
    answer: (_, response) => response.end('{}'),
  };
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return receiver;
}

export interface SyslogReceiver {
  readonly port: number;
  readonly ca: string;
  readonly messages: string[];
  readonly sockets: TLSSocket[];
}

/** Speaks syslog over TLS (RFC 5425): counts octets, as receivers do, and fails at anything else. */
export async function syslogReceiver(): Promise<SyslogReceiver> {
  const { cert, key } = await certificate();
  const messages: string[] = [];
  const sockets: TLSSocket[] = [];
  const server = createTlsServer({ cert, key }, (socket) => {
    sockets.push(socket);
    let waiting = Buffer.alloc(0);
    socket.on('error', () => undefined);
    socket.on('data', (some: Buffer) => {
      waiting = Buffer.concat([waiting, some]);
      for (;;) {
        const space = waiting.indexOf(32);
        if (space < 0) return;
        const digits = waiting.subarray(0, space).toString('latin1');
        if (!/^[1-9]\d{0,8}$/.test(digits)) throw new Error(`no length: ${digits}`);
        const end = space + 1 + Number(digits);
        if (waiting.length < end) return;
        messages.push(
          new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(waiting.subarray(space + 1, end)),
        );
        waiting = waiting.subarray(end);
      }
    });
  });
  // What is not TLS, or does not believe the certificate.
  server.on('tlsClientError', () => undefined);
  const port = await listen(server);
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port, ca: cert, messages, sockets };
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

async function readAll(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts).toString('utf8');
}
