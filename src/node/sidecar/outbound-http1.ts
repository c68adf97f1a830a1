import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from '../../base/log.ts';
import type { OutgoingCall } from './checks/egress.ts';
import { tcpCallOf } from './checks/egress.ts';
import type { Http1Head } from './http1-head.ts';
import { isAuthority, readHttp1Head } from './http1-head.ts';
import { OpenCalls } from './open-calls.ts';
import type { Outbound } from './outbound.ts';
import type { Problem } from './problem.ts';
import { rawProblem, sendProblem } from './problem.ts';
import { relayHttp1 } from './relay-http1.ts';
import type { Route } from './route.ts';
import { newTraceparent, traceIdOf } from './trace.ts';
import { tunnel } from './tunnel.ts';
import { isWebSocket, relayUpgrade } from './upgrade.ts';

export interface LocalProtocol {
  serve(socket: Socket): void;
  drain(): void;
}

/** HTTP/1.1 from the application: routed by Host, by an absolute target (as to a proxy), or, for TCP, by CONNECT. */
export function outboundHttp1(outbound: Outbound, logger: Logger): LocalProtocol {
  const { router, enforcer, pool, limits, random, onFailure } = outbound;
  const connections = new WeakMap<Socket, OpenCalls>();
  let draining = false;
  const server = createServer({
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    connectionsCheckingInterval: 5_000,
    requestTimeout: 0,
    keepAliveTimeout: limits.keepAliveMs,
    insecureHTTPParser: false,
    requireHostHeader: false,
    shouldUpgradeCallback: isWebSocket,
  });
  server.maxHeadersCount = 0;
  // It never listens: connections are handed to it. This starts the check of `headersTimeout`, which listening would.
  server.emit('listening');
  const handle = (req: IncomingMessage, res: ServerResponse) => {
    onRequest(req, res).catch((error: unknown) => {
      logger.error({ err: error }, 'an outbound call failed');
      res.destroy();
    });
  };
  server.on('request', handle);
  server.on('checkContinue', handle);
  server.on('checkExpectation', handle);
  server.on('upgrade', (req, socket: Socket, first) => {
    onUpgrade(req, socket, first).catch((error: unknown) => {
      logger.error({ err: error }, 'an outbound upgrade failed');
      socket.destroy();
    });
  });
  server.on('connect', (req, socket: Socket, first) => {
    onConnect(req, socket, first).catch((error: unknown) => {
      logger.error({ err: error }, 'an outbound tunnel failed');
      socket.destroy();
    });
  });
  server.on('clientError', (error: Error & { code?: string }, socket) => {
    const code = error.code ?? '';
    if (code === 'HPE_HEADER_OVERFLOW') end(socket as Socket, { ...malformed, status: 431, code: 'too-large' });
    else if (code.startsWith('HPE_')) end(socket as Socket, malformed);
    else socket.destroy();
  });

  async function onRequest(req: IncomingMessage, res: ServerResponse): Promise<void> {
    connections.get(req.socket)?.add(res);
    const asked = ask(req);
    if (!asked.ok) {
      refuse(req, res, asked.problem);
      return;
    }
    const { head, authority } = asked;
    const routed = router.route(authority, 'http');
    if (!routed.ok) {
      refuse(req, res, routed.problem);
      return;
    }
    const trace = traceOf(head);
    const call = callOf(req, asked, routed, trace.id);
    const asking = enforcer.admit(call);
    const verdict = asking instanceof Promise ? await asking : asking;
    if (!verdict.admitted) {
      refuse(req, res, verdict.problem);
      enforcer.complete(verdict, { status: verdict.problem.status, bytesIn: 0, bytesOut: 0 });
      return;
    }
    verdict.onCut(() => res.destroy());
    relayHttp1({
      req,
      res,
      head,
      target: verdict.target,
      added: ['traceparent', trace.header],
      targets: verdict.endpoints.map((endpoint) => pool.http1(routed.service, endpoint)),
      toApplication: false,
      closing: () => draining,
      onFailure,
      done: (outcome) => enforcer.complete(verdict, outcome),
    });
  }

  function refuse(req: IncomingMessage, res: ServerResponse, problem: Problem): void {
    sendProblem(res, problem, draining || !req.complete ? { connection: 'close' } : {});
  }

  async function onUpgrade(req: IncomingMessage, socket: Socket, first: Buffer): Promise<void> {
    socket.on('error', () => undefined);
    if (refusedToOvertake(socket)) return;
    const asked = ask(req);
    if (!asked.ok) {
      end(socket, asked.problem);
      return;
    }
    const routed = router.route(asked.authority, 'http');
    if (!routed.ok) {
      end(socket, routed.problem);
      return;
    }
    const trace = traceOf(asked.head);
    const verdict = await enforcer.admit(callOf(req, asked, routed, trace.id));
    const [endpoint] = verdict.admitted ? verdict.endpoints : [];
    if (!verdict.admitted || endpoint === undefined) {
      const problem = verdict.admitted ? malformed : verdict.problem;
      end(socket, problem);
      enforcer.complete(verdict, { status: problem.status, bytesIn: 0, bytesOut: 0 });
      return;
    }
    verdict.onCut(() => socket.destroy());
    relayUpgrade({
      req,
      socket,
      first,
      head: asked.head,
      target: verdict.target,
      added: ['traceparent', trace.header],
      to: pool.http1(routed.service, endpoint),
      idleMs: limits.tunnelIdleMs,
      toApplication: false,
      onFailure,
      done: (outcome) => enforcer.complete(verdict, outcome),
    });
  }

  /** A tunnel to a TCP endpoint: the application's bytes in mTLS (RFC 9110 §9.3.6). */
  async function onConnect(req: IncomingMessage, socket: Socket, first: Buffer): Promise<void> {
    socket.on('error', () => undefined);
    if (refusedToOvertake(socket)) return;
    const routed = router.route(req.url ?? '', 'tcp');
    if (!routed.ok) return end(socket, routed.problem);
    const verdict = await enforcer.admit(tcpCallOf(routed));
    const over = (bytesIn: number, bytesOut: number) => enforcer.complete(verdict, { status: 0, bytesIn, bytesOut });
    if (!verdict.admitted) {
      end(socket, verdict.problem);
      return over(0, 0);
    }
    let callee: Socket;
    try {
      callee = await pool.tcp(routed.service, verdict.endpoints);
    } catch (error) {
      end(socket, onFailure(error));
      return over(0, 0);
    }
    if (socket.destroyed) {
      callee.destroy();
      return over(0, 0);
    }
    verdict.onCut(() => socket.destroy());
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    tunnel(socket, callee, { idleMs: limits.tunnelIdleMs, firstIn: first }, (bytes) => {
      over(bytes.bytesIn, bytes.bytesOut);
    });
  }

  function refusedToOvertake(socket: Socket): boolean {
    const calls = connections.get(socket);
    if (calls === undefined || calls.count === 0) return false;
    calls.whenNone(() => end(socket, { ...malformed, detail: 'An earlier call is open on this connection.' }));
    return true;
  }

  function traceOf(head: Http1Head): { readonly id: string; readonly header: string } {
    const id = traceIdOf(head.traceparent);
    if (head.traceparent !== undefined && id !== undefined) return { id, header: head.traceparent };
    const { traceId, header } = newTraceparent(random);
    return { id: traceId, header };
  }

  function ask(req: IncomingMessage): Asked | { ok: false; problem: Problem } {
    const raw = req.rawHeaders;
    const url = req.url ?? '';
    // The absolute form names the host, whatever the Host field says (RFC 9112 §3.2.2).
    const absolute = /^http:\/\/([^/?#]*)([^#]*)/i.exec(url);
    const head = readHttp1Head(absolute === null ? raw : withHost(raw, absolute[1] ?? ''), limits.maxHeaders);
    if (!head.ok) return { ok: false, problem: { ...malformed, detail: `The request is ambiguous: ${head.why}.` } };
    if (absolute === null) return { ok: true, head, authority: head.host, target: url };
    if (!isAuthority(absolute[1] ?? '')) return { ok: false, problem: malformed };
    const rest = absolute[2] ?? '';
    return { ok: true, head, authority: head.host, target: rest.startsWith('/') ? rest : `/${rest}` };
  }

  return {
    serve(socket) {
      connections.set(socket, new OpenCalls());
      server.emit('connection', socket);
    },
    drain() {
      draining = true;
      server.close();
    },
  };
}

/** What the application asks for. */
interface Asked {
  readonly ok: true;
  readonly head: Http1Head;
  readonly authority: string;
  readonly target: string;
}

function callOf(req: IncomingMessage, asked: Asked, { service, endpoints }: Route, traceId: string): OutgoingCall {
  const { head, authority: host, target } = asked;
  return {
    service,
    endpoints,
    protocol: 'http',
    method: req.method ?? '',
    host,
    target,
    fields: head.fields,
    traceId,
  };
}

const malformed: Problem = { status: 400, code: 'invalid', detail: 'The request is not valid HTTP/1.1.' };

function withHost(raw: readonly string[], host: string): string[] {
  const out = ['Host', host];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if ((raw[i] ?? '').toLowerCase() !== 'host') out.push(raw[i] ?? '', raw[i + 1] ?? '');
  }
  return out;
}

function end(socket: Socket, problem: Problem): void {
  if (socket.writable) socket.end(rawProblem(problem));
  else socket.destroy();
}
