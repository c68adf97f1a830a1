import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../../../base/clock.ts';
import { AppError, toAppError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { problem } from '../../../wire/errors.ts';
import { closePidfd, peerCredentials } from '../workload-api/peer-credentials.ts';
import { listenOnUnixSocket } from '../workload-api/socket.ts';
import type { ProcessReportOptions } from './process-report.ts';
import { reportProcess } from './process-report.ts';

export interface AdminSocketOptions extends ProcessReportOptions {
  /** Absolute. */
  readonly path: string;
  /** The agent's own identity, for people. */
  readonly spiffeId: () => string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** User that connects; default the kernel's word. */
  readonly userOf?: (socket: Socket) => number;
}

/** `GET /v1/agent`: the agent as a whole. */
export interface AgentReport {
  readonly spiffeId: string;
  readonly trustDomain: string;
  readonly entries: number;
  readonly bundleSequence: number;
  readonly connected: boolean;
}

const MAX_CONNECTIONS = 32;

/**
 * Questions of whoever runs this machine: HTTP on a Unix socket that only the agent's own user may open (0600), and root.
 * It tells what processes of others are, so it is not for workloads; it changes nothing.
 */
export async function serveAdminSocket(o: AdminSocketOptions): Promise<{ close(): Promise<void> }> {
  const stopping = new AbortController();
  const server = createServer({ maxHeaderSize: 8 * 1024, requestTimeout: 5_000 }, (request, response) => {
    answer(o, request, stopping.signal).then(
      (body) => send(response, 200, body),
      (error: unknown) => {
        const known = toAppError(error);
        if (known.code === 'internal') o.logger.error({ err: known.cause }, 'a question to the agent failed');
        const told = problem(known);
        send(response, told.status, told);
      },
    );
  });
  const admits = (socket: Socket) => {
    try {
      return isAllowed((o.userOf ?? userOf)(socket));
    } catch (error) {
      o.logger.warn({ err: error }, 'a connection to the admin socket was refused');
      return false;
    }
  };
  let open = 0;
  const listener = await listenOnUnixSocket({
    path: o.path,
    mode: 0o600,
    onConnection: (socket) => {
      // The mode keeps others out already, but for those that were let in by an ACL or on a strange file system.
      if (open >= MAX_CONNECTIONS || !admits(socket)) {
        socket.destroy();
        return;
      }
      open += 1;
      socket.once('close', () => {
        open -= 1;
      });
      server.emit('connection', socket);
    },
  });
  return {
    async close() {
      stopping.abort();
      const ended = listener.stop();
      listener.cut();
      await ended;
    },
  };
}

async function answer(o: AdminSocketOptions, request: IncomingMessage, signal: AbortSignal): Promise<object> {
  const url = new URL(request.url ?? '', 'http://agent');
  if (request.method !== 'GET') throw new AppError('invalid', 'Only GET is answered here.');
  switch (url.pathname) {
    case '/v1/agent':
      return reportAgent(o);
    case '/v1/why': {
      const pid = url.searchParams.get('pid') ?? '';
      if (!/^[1-9]\d{0,9}$/.test(pid)) throw new AppError('invalid', 'pid must be the number of a process.');
      return reportProcess(o, Number(pid), signal);
    }
    default:
      throw new AppError('not-found', 'There are /v1/agent and /v1/why?pid=N.');
  }
}

function reportAgent(o: AdminSocketOptions): AgentReport {
  const state = o.identities.state.current;
  if (state === undefined) throw new AppError('unavailable', 'The agent has not heard from the control plane yet.');
  return {
    spiffeId: o.spiffeId(),
    trustDomain: state.bundle.trustDomain,
    entries: state.entries.size,
    bundleSequence: state.bundle.sequence,
    connected: state.connected,
  };
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': status === 200 ? 'application/json' : 'application/problem+json' });
  response.end(`${JSON.stringify(body)}\n`);
}

function isAllowed(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

function userOf(socket: Socket): number {
  const { uid, pidfd } = peerCredentials(socket);
  if (pidfd !== undefined) closePidfd(pidfd);
  return uid;
}
