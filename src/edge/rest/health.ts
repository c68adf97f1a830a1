import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { PROBLEM_TYPE } from './problem.ts';
import type { ListenOptions, RunningServer } from './server.ts';

/** One thing that must work before this process should get requests. */
export interface Check {
  /** Lower case, such as `store`. */
  readonly name: string;
  readonly ok: boolean;
  /** Why not. For logs; it is not served. */
  readonly why?: string;
}

export interface HealthDeps {
  readonly ready: () => readonly Check[] | Promise<readonly Check[]>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Checks that take longer count as failed. */
const CHECK_LIMIT_MS = 2_000;

/**
 * GET /livez: this process answers. GET /readyz: all checks pass. As in Kubernetes, `?verbose` adds one line per check,
 * `[+]name ok` or `[-]name failed`. Without a token: it tells nothing else. Its own listener, so that it can be kept inside
 * the cluster while REST is not.
 */
export async function createHealthServer(deps: HealthDeps, options: ListenOptions): Promise<RunningServer> {
  const server = createServer({
    requestTimeout: 5_000,
    headersTimeout: 5_000,
    keepAliveTimeout: 5_000,
    maxHeaderSize: 8 * 1024,
  });
  server.maxConnections = 100;
  server.on('request', (request, response) => void respond(request, response, deps));
  await listen(server, options);
  const { port } = server.address() as AddressInfo;
  let closing: Promise<void> | undefined;
  return {
    url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`,
    port,
    close: () => {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closing;
    },
  };
}

async function respond(request: IncomingMessage, response: ServerResponse, deps: HealthDeps): Promise<void> {
  const [path = '', query = ''] = (request.url ?? '').split('?', 2);
  if (path !== '/livez' && path !== '/readyz')
    return problem(response, 404, 'Not Found', 'There is only /livez and /readyz.');
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    return problem(response, 405, 'Method Not Allowed', 'Only GET and HEAD are possible here.');
  }
  const checks = path === '/livez' ? [{ name: 'process', ok: true }] : await runChecks(deps);
  const failed = checks.filter((check) => !check.ok);
  if (failed.length > 0) deps.logger.warn({ event: 'health.not-ready', failed }, 'not ready');
  const lines = new URLSearchParams(query).has('verbose') || failed.length > 0 ? checks.map(line) : [];
  const verdict = failed.length === 0 ? 'ok' : 'not ready';
  send(response, failed.length === 0 ? 200 : 503, 'text/plain; charset=utf-8', `${[...lines, verdict].join('\n')}\n`);
}

async function runChecks(deps: HealthDeps): Promise<readonly Check[]> {
  const done = new AbortController();
  try {
    const late = sleep(deps.clock, CHECK_LIMIT_MS, done.signal).then(() => [
      { name: 'checks', ok: false, why: 'took too long' },
    ]);
    return await Promise.race([Promise.resolve(deps.ready()), late]);
  } catch (error) {
    deps.logger.error({ err: error }, 'the readiness checks failed');
    return [{ name: 'checks', ok: false, why: 'threw' }];
  } finally {
    done.abort();
  }
}

function line(check: Check): string {
  return check.ok ? `[+]${check.name} ok` : `[-]${check.name} failed`;
}

function problem(response: ServerResponse, status: number, title: string, detail: string): void {
  send(
    response,
    status,
    PROBLEM_TYPE,
    JSON.stringify({ type: 'about:blank', title, status, detail, code: status === 404 ? 'not-found' : 'invalid' }),
  );
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(body);
}

function listen(server: Server, options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new AppError(
          'unavailable',
          `Health cannot listen on ${options.host}:${options.port} (${cause.code ?? 'unknown error'}).`,
          { cause },
        ),
      ),
    );
    server.listen(options.port, options.host, resolve);
  });
}
