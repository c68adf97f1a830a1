import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import type { ErrorCode } from '../../base/errors.ts';
import type { DecisionReason } from '../../core/policy/model.ts';

/** An answer that a sidecar gives in place of the application: problem+json (RFC 9457), or a gRPC status. */
export interface Problem {
  readonly status: number;
  readonly code: ErrorCode;
  /** What, why, how to mend; shown to the caller. */
  readonly detail: string;
  readonly reason?: DecisionReason | 'audit-unavailable';
  readonly rule?: string;
  /** Fields besides those that every such answer has; names in lower case, values as HTTP allows them. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** Sent as it is, in place of the problem document; plain text unless `headers` say otherwise. */
  readonly body?: Buffer;
}

/** gRPC status for an HTTP status (grpc: doc/http-grpc-status-mapping.md). */
const grpcStatus: Readonly<Record<number, number>> = { 400: 13, 401: 16, 403: 7, 404: 12 };
const GRPC_UNAVAILABLE = 14;

export function problemBody(problem: Problem): string {
  const { status, code, detail, reason, rule } = problem;
  return JSON.stringify({
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    code,
    rule,
    reason,
    detail,
  });
}

function markers(problem: Problem): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  if (problem.rule !== undefined) headers['x-writ-rule'] = problem.rule;
  if (problem.reason !== undefined) headers['x-writ-reason'] = problem.reason;
  if (problem.status === 401) headers['www-authenticate'] = 'Bearer error="invalid_token"';
  for (const [name, value] of Object.entries(problem.headers ?? {})) {
    headers[name] = typeof value === 'string' ? value : [...value];
  }
  return headers;
}

function contentOf(problem: Problem): { readonly body: Buffer; readonly type: string } {
  const { body } = problem;
  return body === undefined
    ? { body: Buffer.from(problemBody(problem)), type: 'application/problem+json' }
    : { body, type: 'text/plain; charset=utf-8' };
}

/** Answers over HTTP/1.1. Returns the bytes of the body. Does nothing when an answer has begun. */
export function sendProblem(res: ServerResponse, problem: Problem, extra: OutgoingHttpHeaders = {}): number {
  if (res.headersSent || res.destroyed) return 0;
  const { body, type } = contentOf(problem);
  res.writeHead(problem.status, {
    'content-type': type,
    'cache-control': 'no-store',
    ...markers(problem),
    'content-length': body.length,
    ...extra,
  });
  res.end(body);
  return body.length;
}

/** Answers over HTTP/2; a gRPC caller gets a status without a body. Returns the bytes of the body. */
export function respondProblem(stream: ServerHttp2Stream, problem: Problem, grpc: boolean): number {
  if (stream.destroyed || stream.closed || stream.headersSent) return 0;
  if (grpc) {
    stream.respond(
      {
        ...markers(problem),
        ':status': problem.status,
        'content-type': 'application/grpc',
        'grpc-status': grpcStatus[problem.status] ?? GRPC_UNAVAILABLE,
        'grpc-message': encodeURI(problem.detail.toWellFormed()).replaceAll('%20', ' '),
      },
      { endStream: true },
    );
    return 0;
  }
  const { body, type } = contentOf(problem);
  stream.respond({
    'content-type': type,
    'cache-control': 'no-store',
    ...markers(problem),
    ':status': problem.status,
    'content-length': body.length,
  });
  stream.end(body);
  return body.length;
}

/** The same answer as text, for a connection that no HTTP server owns any more; it is to be closed after it. */
export function rawProblem(problem: Problem): string {
  const { body, type } = contentOf(problem);
  const head = Object.entries({
    'content-type': type,
    ...markers(problem),
    'content-length': String(body.length),
    connection: 'close',
  });
  return `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? 'Error'}\r\n${head
    .flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((each) => `${name}: ${each}\r\n`))
    .join('')}\r\n${body.toString()}`;
}
