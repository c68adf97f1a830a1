import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from '../../base/log.ts';
import type { Http1Head } from './http1-head.ts';
import { isAuthority, readHttp1Head } from './http1-head.ts';
import { OpenCalls } from './open-calls.ts';
import type { Outbound } from './outbound.ts';
import type { Problem } from './problem.ts';
import { rawProblem, sendProblem } from './problem.ts';
import { relayHttp1 } from './relay-http1.ts';
import { newTraceparent, traceIdOf } from './trace.ts';
import { tunnel } from './tunnel.ts';
import { isWebSocket, relayUpgrade } from './upgrade.ts';

export interface LocalProtocol {
  serve(socket: Socket): void;
  drain(): void;
}

/** HTTP/1.1 from the application: routed by Host, by an absolute target (as to a proxy), or, for TCP, by CONNECT. */
export function outboundHttp1(outbound: Outbound, logger: Logger): LocalProtocol {
  const { router, pool, limits, random, onFailure } = outbound;
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
  server.on('request', onRequest);
  server.on('checkContinue', onRequest);
  server.on('checkExpectation', onRequest);
  server.on('upgrade', onUpgrade);
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

  function onRequest(req: IncomingMessage, res: ServerResponse): void {
    connections.get(req.socket)?.add(res);
    const asked = ask(req);
    if (!asked.ok) {
      refuse(req, res, asked.problem);
      return;
    }
    const { head, authority, target } = asked;
    const routed = router.route(authority, 'http');
    if (!routed.ok) {
      refuse(req, res, routed.problem);
      return;
    }
    relayHttp1({
      req,
      res,
      head,
      target,
      added: ['traceparent', traceparentOf(head)],
      targets: routed.endpoints.map((endpoint) => pool.http1(routed.service, endpoint)),
      toApplication: false,
      closing: () => draining,
      onFailure,
      done: () => undefined,
    });
  }

  function refuse(req: IncomingMessage, res: ServerResponse, problem: Problem): void {
    sendProblem(res, problem, draining || !req.complete ? { connection: 'close' } : {});
  }

  function onUpgrade(req: IncomingMessage, socket: Socket, first: Buffer): void {
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
    const [endpoint] = routed.endpoints;
    if (endpoint === undefined) {
      end(socket, malformed);
      return;
    }
    relayUpgrade({
      req,
      socket,
      first,
      head: asked.head,
      target: asked.target,
      added: ['traceparent', traceparentOf(asked.head)],
      to: pool.http1(routed.service, endpoint),
      idleMs: limits.tunnelIdleMs,
      toApplication: false,
      onFailure,
      done: () => undefined,
    });
  }

  /** A tunnel to a TCP endpoint: the application's bytes in mTLS (RFC 9110 §9.3.6). */
  async function onConnect(req: IncomingMessage, socket: Socket, first: Buffer): Promise<void> {
    socket.on('error', () => undefined);
    if (refusedToOvertake(socket)) return;
    const routed = router.route(req.url ?? '', 'tcp');
    if (!routed.ok) return end(socket, routed.problem);
    let callee: Socket;
    try {
      callee = await pool.tcp(routed.service, routed.endpoints);
    } catch (error) {
      return end(socket, onFailure(error));
    }
    if (socket.destroyed) return void callee.destroy();
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    tunnel(socket, callee, { idleMs: limits.tunnelIdleMs, firstIn: first }, () => undefined);
  }

  function refusedToOvertake(socket: Socket): boolean {
    const calls = connections.get(socket);
    if (calls === undefined || calls.count === 0) return false;
    calls.whenNone(() => end(socket, { ...malformed, detail: 'An earlier call is open on this connection.' }));
    return true;
  }

  function traceparentOf(head: Http1Head): string {
    return head.traceparent !== undefined && traceIdOf(head.traceparent) !== undefined
      ? head.traceparent
      : newTraceparent(random).header;
  }

  function ask(
    req: IncomingMessage,
  ): { ok: true; head: Http1Head; authority: string; target: string } | { ok: false; problem: Problem } {
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
