import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, request } from 'node:http';
import { parseArgs } from 'node:util';
import { sleep, systemClock } from '../../base/clock.ts';
import { reason } from '../../base/durable.ts';
import { exitCode } from '../../wire/errors.ts';
import { endWith, stopSignal, tellParent } from '../process.ts';

/**
 * The demo application: plain HTTP on loopback, as applications are. It knows nothing of Writ but that other services are
 * reached through its sidecar's outbound port, by name. Run by `writ dev`:
 *
 *     node src/main/dev/service.ts --name web --port 9101 --outbound 9111 [--traffic]
 */

/** Whom each service calls when it is called, and how. */
const calls: Readonly<Record<string, readonly { readonly service: string; readonly path: string }[]>> = {
  web: [{ service: 'orders', path: '/' }],
  orders: [{ service: 'payments', path: '/charge' }],
  payments: [],
};

const TRAFFIC_EVERY_MS = 500;
/** Every so many rounds, web tries what no policy allows. */
const FORBIDDEN_EVERY = 4;
const CALL_TIMEOUT_MS = 5_000;
const MAX_BODY = 64 * 1024;

const { values } = parseArgs({
  options: {
    name: { type: 'string', default: 'web' },
    port: { type: 'string', default: '0' },
    outbound: { type: 'string', default: '0' },
    traffic: { type: 'boolean', default: false },
  },
});
const { name } = values;
const outbound = Number(values.outbound);

async function handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  incoming.resume();
  const traceparent = String(incoming.headers.traceparent ?? newTrace());
  const results = await Promise.all((calls[name] ?? []).map((call) => callMesh(call.service, call.path, traceparent)));
  const body = {
    service: name,
    path: incoming.url,
    // Set by the sidecar, from the certificate of the caller; absent when somebody calls past it.
    caller: callerOf(incoming.headers['x-forwarded-client-cert']),
    calls: results,
  };
  const ok = results.every((result) => result.status === 200);
  response.writeHead(ok ? 200 : 502, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
}

function callerOf(header: string | string[] | undefined): string | null {
  return /URI=([^;,]+)/.exec(String(header ?? ''))?.[1] ?? null;
}

interface CallResult {
  readonly to: string;
  /** 0: no answer. */
  readonly status: number;
  readonly answer: string;
}

function callMesh(service: string, path: string, traceparent: string): Promise<CallResult> {
  const to = `${service}.shop.mesh`;
  return new Promise((resolve) => {
    const call = request(
      { host: '127.0.0.1', port: outbound, path, headers: { host: to, traceparent }, timeout: CALL_TIMEOUT_MS },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (chunk: string) => {
          if (text.length < MAX_BODY) text += chunk;
        });
        answer.on('end', () => resolve({ to, status: answer.statusCode ?? 0, answer: text.trim() }));
        answer.on('error', (error) => resolve({ to, status: 0, answer: error.message }));
      },
    );
    call.on('timeout', () => call.destroy(new Error('no answer in time')));
    call.on('error', (error) => resolve({ to, status: 0, answer: error.message }));
    call.end();
  });
}

/** W3C Trace Context: so that the calls of one round are found together. */
function newTrace(): string {
  return `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`;
}

async function makeTraffic(signal: AbortSignal): Promise<void> {
  for (let round = 1; !signal.aborted; round++) {
    await callMesh('orders', '/', newTrace());
    if (round % FORBIDDEN_EVERY === 0) await callMesh('payments', '/', newTrace());
    await sleep(systemClock, TRAFFIC_EVERY_MS, signal);
  }
}

const signal = stopSignal(process.send !== undefined);
const server = createServer((incoming, response) => {
  handle(incoming, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
});
server.on('error', (error) => {
  const port = `Port ${values.port}`;
  const message =
    reason(error) === 'EADDRINUSE'
      ? `${port} is taken. Stop what listens there, or shift all ports: npm start -- --port-base 18080`
      : `${port} cannot be listened on: ${reason(error)}. Shift all ports: npm start -- --port-base 18080`;
  process.stderr.write(`error: ${message}\n`);
  void tellParent({ type: 'failed', code: 'conflict', message }).then(() => endWith(exitCode('conflict')));
});
server.listen({ host: '127.0.0.1', port: Number(values.port) }, () => {
  void tellParent({ type: 'ready' });
  if (values.traffic) void makeTraffic(signal);
});
signal.addEventListener('abort', () => {
  server.close(() => {
    if (process.connected) process.disconnect();
  });
  server.closeAllConnections();
});
