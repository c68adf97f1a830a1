import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { AppError, toAppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { problem } from '../../wire/errors.ts';
import type { IssuedToken } from '../../wire/identity.ts';
import type { Listener } from './listener.ts';
import { Connections, listen } from './listener.ts';
import type { SidecarStatus } from './status.ts';

export interface AdminDeps {
  readonly token: (audience: string) => Promise<IssuedToken>;
  readonly status: () => SidecarStatus;
  readonly logger: Logger;
}

/** Fields that only browsers and proxies send: whoever relays for somebody else must not get tokens. */
const relayed = ['origin', 'sec-fetch-site', 'x-forwarded-for', 'x-forwarded-host', 'forwarded', 'via'] as const;
const localHost = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?$/i;

/**
 * The loopback port for the application beside us: tokens, status and health. There is no other authentication than being
 * able to reach it, so it refuses what a browser or a forged server-side request would look like: a foreign Host (DNS
 * rebinding), and fields that only browsers and proxies send.
 */
export async function startAdmin(
  options: { readonly host: string; readonly port: number },
  deps: AdminDeps,
): Promise<Listener> {
  const server = createServer({ maxHeaderSize: 16 * 1024, requestTimeout: 10_000 }, (req, res) => {
    answer(req, deps).then(
      (body) => send(res, body.status, body.json),
      (error: unknown) => {
        const known = toAppError(error);
        if (known.code === 'internal') deps.logger.error({ err: error }, 'an admin request failed');
        const told = problem(known);
        send(res, told.status, told, 'application/problem+json');
      },
    );
  });
  server.maxConnections = 256;
  const connections = new Connections();
  server.on('connection', (socket) => connections.add(socket));
  const port = await listen(server, options);
  return {
    host: options.host,
    port,
    drain(ms) {
      server.closeIdleConnections();
      return connections.end(server, ms);
    },
  };
}

async function answer(
  req: IncomingMessage,
  deps: AdminDeps,
): Promise<{ readonly status: number; readonly json: unknown }> {
  const [path = '', query = ''] = (req.url ?? '').split('?', 2);
  if (req.method !== 'GET') throw new AppError('invalid', 'The admin port answers GET only.');
  // Probes come from outside, and learn nothing.
  if (path === '/livez') return { status: 200, json: { status: 'ok' } };
  if (path === '/readyz') return readiness(deps.status());
  refuseRelayed(req);
  if (path === '/v1/status') return { status: 200, json: deps.status() };
  if (path === '/v1/jwt') {
    const audiences = new URLSearchParams(query).getAll('audience');
    const [audience] = audiences;
    if (audience === undefined || audiences.length !== 1) {
      throw new AppError('invalid', 'Name exactly one audience: /v1/jwt?audience=…');
    }
    const { token, spiffeId, expiresAt } = await deps.token(audience);
    return { status: 200, json: { token, spiffeId, expiresAt: new Date(expiresAt).toISOString() } };
  }
  throw new AppError('not-found', 'There are /v1/jwt?audience=…, /v1/status, /readyz and /livez.');
}

function readiness(status: SidecarStatus): { status: number; json: unknown } {
  const waitsFor = [];
  if (!status.identity.valid) waitsFor.push('a valid certificate');
  if (status.policy === null) waitsFor.push('a first policy');
  return waitsFor.length === 0
    ? { status: 200, json: { status: 'ok' } }
    : { status: 503, json: { status: 'not ready', waitsFor } };
}

function refuseRelayed(req: IncomingMessage): void {
  const hosts = req.headersDistinct.host ?? [];
  if (hosts.length !== 1 || !localHost.test(hosts[0] ?? '')) {
    throw new AppError('forbidden', 'The admin port is for the application on this machine: use http://127.0.0.1.');
  }
  for (const name of relayed) {
    if (req.headers[name] !== undefined) {
      throw new AppError('forbidden', `The admin port does not answer requests that carry ${name}.`);
    }
  }
}

function send(res: ServerResponse, status: number, json: unknown, type = 'application/json'): void {
  const body = Buffer.from(`${JSON.stringify(json)}\n`);
  res.writeHead(status, {
    'content-type': type,
    'content-length': body.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  res.end(body);
}
