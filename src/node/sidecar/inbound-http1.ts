import type { IncomingMessage } from 'node:http';
import { createServer, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { RandomBytes } from '../../base/random.ts';
import type { Caller } from './caller.ts';
import { changedFields } from './checks/request-changes.ts';
import type { Call, Verdict } from './enforce.ts';
import type { Http1Head, Malformed } from './http1-head.ts';
import { isSafeMethod, readHttp1Head } from './http1-head.ts';
import type { Inbound, Protocol } from './inbound.ts';
import { OpenCalls } from './open-calls.ts';
import type { Problem } from './problem.ts';
import { rawProblem, sendProblem } from './problem.ts';
import { relayHttp1 } from './relay-http1.ts';
import { newTraceparent, traceIdOf } from './trace.ts';
import { isWebSocket, relayUpgrade } from './upgrade.ts';

interface Connection {
  readonly caller: Caller;
  readonly calls: OpenCalls;
  /** Nothing that follows an ambiguous request is believed to be a request. */
  poisoned: boolean;
}

/** HTTP/1.1 from other sidecars: each request is one call. */
export function inboundHttp1(inbound: Inbound): Protocol {
  const { application, enforcer, limits, logger, random } = inbound;
  const connections = new Map<Socket, Connection>();
  let draining = false;

  const server = createServer({
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    // A body may take as long as it needs: uploads and streams.
    requestTimeout: 0,
    keepAliveTimeout: limits.keepAliveMs,
    insecureHTTPParser: false,
    // Checked here, so that the refusal is on the record.
    requireHostHeader: false,
    // Anything else that asks for an upgrade (h2c above all, which would carry requests past us) is an ordinary request.
    shouldUpgradeCallback: isWebSocket,
    connectionsCheckingInterval: 5_000,
  });
  server.maxHeadersCount = 0;
  // It never listens: connections are handed to it. This starts the check of `headersTimeout`, which listening would.
  server.emit('listening');

  const handle = (req: IncomingMessage, res: ServerResponse) => {
    onRequest(req, res).catch((error: unknown) => {
      logger.error({ err: error }, 'an inbound call failed');
      res.destroy();
    });
  };
  server.on('request', handle);
  // Node would answer these itself: 100 Continue before we decided, and 417 without a record.
  server.on('checkContinue', handle);
  server.on('checkExpectation', handle);
  server.on('upgrade', (req, socket: Socket, first) => {
    onUpgrade(req, socket, first).catch((error: unknown) => {
      logger.error({ err: error }, 'an inbound upgrade failed');
      socket.destroy();
    });
  });
  server.on(
    'connect',
    (req, socket: Socket) => void refuseUnread(req.method ?? '', 'CONNECT is not served here', socket),
  );
  server.on('clientError', (error: Error & { code?: string }, socket) => {
    const code = error.code ?? '';
    if (code === 'HPE_HEADER_OVERFLOW') return end(socket as Socket, tooLarge);
    if (code.startsWith('HPE_')) return void refuseUnread('', 'it is not valid HTTP/1.1', socket as Socket);
    socket.destroy();
  });

  async function onRequest(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const connection = connections.get(req.socket);
    if (connection === undefined) return void res.destroy();
    if (connection.poisoned) return;
    connection.calls.add(res);
    const { caller } = connection;
    if (!caller.isValid()) return void sendProblem(res, invalid, { connection: 'close' });
    const head = readHttp1Head(req.rawHeaders, limits.maxHeaders);
    if (!head.ok) connection.poisoned = true;
    const trace = traceOf(head, random);
    const verdict = await enforcer.admit(callOf(caller, req, head, trace.id));
    if (!verdict.admitted || !head.ok) return refuse(verdict, req, res);
    verdict.onCut(() => res.destroy());
    relayHttp1({
      req,
      res,
      head: { ...head, fields: changedFields(head.fields, verdict.changes) },
      target: verdict.target,
      added: ['traceparent', trace.header, ...caller.clientCert],
      targets: [application.http1],
      withheld: verdict.changes?.withheld,
      answerChanges: verdict.answer,
      toApplication: true,
      closing: () => draining || !caller.isValid(),
      onFailure: (error) => {
        logger.warn({ err: error }, 'the application did not answer');
        return noAnswer;
      },
      done: (outcome) => enforcer.complete(verdict, outcome),
    });
  }

  function refuse(verdict: Verdict, req: IncomingMessage, res: ServerResponse): void {
    if (verdict.admitted) throw new Error('a malformed request was admitted');
    // A body that nobody will read ends with the connection.
    const close = draining || verdict.problem.status === 400 || !req.complete;
    const bytesOut = sendProblem(res, verdict.problem, close ? { connection: 'close' } : {});
    enforcer.complete(verdict, { status: verdict.problem.status, bytesIn: 0, bytesOut });
  }

  /** Decided once, like a request; after the application agreed, what flows is not looked at. */
  async function onUpgrade(req: IncomingMessage, socket: Socket, first: Buffer): Promise<void> {
    socket.on('error', () => undefined);
    const connection = connections.get(socket);
    if (connection === undefined || connection.poisoned) return void socket.destroy();
    const { caller, calls } = connection;
    const overtakes = calls.count > 0 ? 'it changes the protocol while an earlier call is open' : undefined;
    const refused = (problem: Problem) =>
      overtakes === undefined ? end(socket, problem) : calls.whenNone(() => end(socket, problem));
    if (!caller.isValid()) return refused(invalid);
    if (overtakes === undefined) calls.hold();
    const head = readHttp1Head(req.rawHeaders, limits.maxHeaders);
    const trace = traceOf(head, random);
    const verdict = await enforcer.admit(callOf(caller, req, head, trace.id, overtakes));
    if (!verdict.admitted) {
      refused(verdict.problem);
      return enforcer.complete(verdict, { status: verdict.problem.status, bytesIn: 0, bytesOut: 0 });
    }
    if (!head.ok) throw new Error('a malformed request was admitted');
    verdict.onCut(() => socket.destroy());
    relayUpgrade({
      req,
      socket,
      first,
      head: { ...head, fields: changedFields(head.fields, verdict.changes) },
      target: verdict.target,
      added: ['traceparent', trace.header, ...caller.clientCert],
      to: application.http1,
      idleMs: limits.tunnelIdleMs,
      answerChanges: verdict.answer,
      toApplication: true,
      onFailure: () => noAnswer,
      done: (outcome) => enforcer.complete(verdict, outcome),
    });
  }

  function callOf(
    caller: Caller,
    req: IncomingMessage,
    head: Http1Head | Malformed,
    traceId: string,
    why?: string,
  ): Call {
    const method = req.method ?? '';
    let malformed = head.ok ? why : head.why;
    if (!isSafeMethod(method)) malformed ??= 'its method';
    // Whoever speaks HTTP/1.0 is not a sidecar, and its framing has traps of its own.
    if (req.httpVersion !== '1.1') malformed ??= 'it is not HTTP/1.1';
    return {
      peer: caller.peer,
      port: application.port,
      protocol: 'http',
      method,
      host: head.host,
      target: req.url ?? '',
      traceId,
      authorization: head.ok ? head.authorization : undefined,
      fields: head.ok ? head.fields : [],
      connection: caller.connection,
      malformed,
    };
  }

  /** What the parser refused before there was a request, on the record as far as it is known. */
  async function refuseUnread(method: string, why: string, socket: Socket): Promise<void> {
    socket.on('error', () => undefined);
    const connection = connections.get(socket);
    if (connection === undefined) return void socket.destroy();
    // The refusal of what came before is on its way, and closes the connection.
    if (connection.poisoned) return;
    connection.poisoned = true;
    const verdict = await enforcer.admit({
      peer: connection.caller.peer,
      port: application.port,
      protocol: 'http',
      method,
      host: '',
      target: '',
      traceId: '',
      authorization: undefined,
      fields: [],
      connection: connection.caller.connection,
      malformed: why,
    });
    if (verdict.admitted) return void socket.destroy();
    const { problem } = verdict;
    // After what the parser could not read, the call it belonged to may never be over; CONNECT is a call of its own.
    if (method === '') end(socket, problem);
    else connection.calls.whenNone(() => end(socket, problem));
    enforcer.complete(verdict, { status: problem.status, bytesIn: 0, bytesOut: 0 });
  }

  return {
    serve(caller) {
      const { socket } = caller;
      connections.set(socket, { caller, calls: new OpenCalls(), poisoned: false });
      socket.once('close', () => connections.delete(socket));
      server.emit('connection', socket);
    },
    recheck() {
      // Busy ones are refused with their next request.
      for (const { caller, calls } of connections.values())
        if (calls.count === 0 && !caller.isValid()) caller.socket.destroy();
    },
    drain() {
      draining = true;
      // The others end with the answer they are waiting for.
      for (const { caller, calls } of connections.values()) if (calls.count === 0) caller.socket.destroy();
      server.close();
    },
  };
}

const invalid: Problem = {
  status: 401,
  code: 'unauthenticated',
  detail:
    'The certificate that opened this connection is no longer valid, or plain text is no longer let in. Connect again, with a certificate.',
};
const noAnswer: Problem = { status: 502, code: 'unavailable', detail: 'The application did not answer.' };
const tooLarge: Problem = { status: 431, code: 'too-large', detail: 'The header fields are too large.' };

function end(socket: Socket, problem: Problem): void {
  if (socket.writable) socket.end(rawProblem(problem));
  else socket.destroy();
}

function traceOf(head: Http1Head | Malformed, random: RandomBytes): { readonly id: string; readonly header: string } {
  const given = head.ok ? head.traceparent : undefined;
  const id = traceIdOf(given);
  if (given !== undefined && id !== undefined) return { id, header: given };
  const { traceId, header } = newTraceparent(random);
  return { id: traceId, header };
}
