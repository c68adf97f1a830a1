import type { IncomingMessage } from 'node:http';
import { request, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { RequestChanges } from './checks/request-changes.ts';
import { changedFields } from './checks/request-changes.ts';
import type { Outcome } from './enforce.ts';
import type { Http1Head } from './http1-head.ts';
import { responseFields } from './http1-head.ts';
import type { Problem } from './problem.ts';
import { rawProblem } from './problem.ts';
import type { Http1Target } from './relay-http1.ts';
import { tunnel } from './tunnel.ts';

/** WebSocket (RFC 6455) is the only protocol that a connection may change to; a body and a change at once is no request. */
export function isWebSocket(req: IncomingMessage): boolean {
  const { upgrade, 'content-length': length, 'transfer-encoding': encoding } = req.headers;
  return (
    req.method === 'GET' && upgrade?.toLowerCase() === 'websocket' && length === undefined && encoding === undefined
  );
}

export interface UpgradeRelay {
  readonly req: IncomingMessage;
  readonly socket: Socket;
  /** What the caller sent after the request. Held back until the other side has agreed to change protocol. */
  readonly first: Buffer;
  readonly head: Http1Head;
  readonly target: string;
  readonly added: readonly string[];
  readonly to: Http1Target;
  readonly idleMs: number;
  /** Of the fields of the answer. */
  readonly answerChanges?: RequestChanges | undefined;
  readonly toApplication: boolean;
  readonly onFailure: (error: unknown) => Problem;
  readonly done: (outcome: Outcome) => void;
}

/** Sends an upgrade on; joins the two connections if the other side answers 101, else gives its answer and closes. */
export function relayUpgrade(o: UpgradeRelay): void {
  const { socket } = o;
  let settled = false;
  const finish = (outcome: Outcome) => {
    if (settled) return;
    settled = true;
    o.done(outcome);
  };
  // The caller left while the call was decided: its `close` was before we listened.
  if (socket.destroyed) {
    finish({ status: 0, bytesIn: 0, bytesOut: 0 });
    return;
  }
  let answered = false;
  const upstream = request({
    agent: o.to.agent,
    host: o.to.host,
    port: o.to.port,
    method: 'GET',
    path: o.target,
    headers: [...o.head.fields, ...o.added, 'Connection', 'Upgrade', 'Upgrade', 'websocket'],
  });
  const left = () => {
    upstream.destroy();
    finish({ status: 0, bytesIn: 0, bytesOut: 0 });
  };
  socket.once('close', left);
  upstream.once('upgrade', (answer, callee: Socket, firstOut) => {
    socket.off('close', left);
    answered = true;
    const fields = changedFields(responseFields(answer.rawHeaders, o.toApplication).fields, o.answerChanges);
    const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: websocket'];
    for (let i = 0; i + 1 < fields.length; i += 2) lines.push(`${fields[i]}: ${fields[i + 1]}`);
    socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
    tunnel(socket, callee, { idleMs: o.idleMs, firstIn: o.first, firstOut }, (bytes) =>
      finish({ status: 101, ...bytes }),
    );
  });
  upstream.once('response', (answer) => {
    socket.off('close', left);
    // Not upgraded: an ordinary answer, after which the connection ends, since its parser has let go of it.
    const res = new ServerResponse(o.req);
    res.shouldKeepAlive = false;
    const fields = changedFields(responseFields(answer.rawHeaders, o.toApplication).fields, o.answerChanges);
    try {
      res.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? '', [...fields]);
    } catch (error) {
      // A status or a reason that HTTP does not have.
      fail(error);
      answer.destroy();
      return;
    }
    answered = true;
    res.assignSocket(socket);
    res.once('finish', () => socket.end());
    let bytesOut = 0;
    answer.on('data', (chunk: Buffer) => {
      bytesOut += chunk.length;
    });
    answer.pipe(res);
    answer.on('error', () => socket.destroy());
    socket.once('close', () => {
      answer.destroy();
      finish({ status: res.writableFinished ? res.statusCode : 0, bytesIn: 0, bytesOut });
    });
  });
  const fail = (error: unknown) => {
    if (settled) return;
    socket.off('close', left);
    if (answered) {
      // A second answer would become part of the first one.
      socket.destroy();
      finish({ status: 0, bytesIn: 0, bytesOut: 0 });
      return;
    }
    const problem = o.onFailure(error);
    if (socket.writable) socket.end(rawProblem(problem));
    else socket.destroy();
    finish({ status: problem.status, bytesIn: 0, bytesOut: 0 });
  };
  upstream.on('error', fail);
  upstream.end();
}
