import { createServer, request } from 'node:http';
import { Agent, createServer as createTlsServer, request as tlsRequest } from 'node:https';

/**
 * The reference for a sidecar: forwards HTTP with keep-alive and mutual TLS and does nothing else, no decision and no record.
 * `out`: plain HTTP in, mTLS out. `in`: mTLS in, plain HTTP out. A process of its own; it ends with its parent.
 */
export interface ForwarderRequest {
  readonly role: 'in' | 'out';
  readonly target: number;
  readonly key: string;
  readonly certificate: string;
  readonly ca: string;
}

process.on('disconnect', () => process.exit(0));
process.on('message', ({ role, target, key, certificate, ca }: ForwarderRequest) => {
  const tls = { key, cert: certificate, ca, minVersion: 'TLSv1.3' as const };
  const agent =
    role === 'out' ? new Agent({ keepAlive: true, ...tls, checkServerIdentity: () => undefined }) : undefined;
  const send = role === 'out' ? tlsRequest : request;
  const forward: Parameters<typeof createServer>[1] = (incoming, response) => {
    const { method, url, headers } = incoming;
    const options = { host: '127.0.0.1', port: target, method, path: url, headers, ...(agent && { agent }) };
    const outgoing = send(options, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    outgoing.on('error', () => response.destroy());
    incoming.pipe(outgoing);
  };
  const server =
    role === 'out'
      ? createServer(forward)
      : createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true }, forward);
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    process.send?.(typeof address === 'object' ? address?.port : undefined);
  });
});
