import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ErrorCode, Finding } from '../../base/errors.ts';
import { AppError, toAppError } from '../../base/errors.ts';
import { problem } from '../../wire/errors.ts';
import { findingsOf } from './findings.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/** RFC 9457, with our extensions `code`, `errors`, `requestId`, `retryAfter`. */
export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly instance: string;
  readonly code: ErrorCode;
  readonly errors?: readonly Omit<Finding, 'message'>[];
  readonly requestId: string;
  readonly retryAfter?: number;
}

/** A failure that only HTTP knows. It has no code of its own; its type is `about:blank` (RFC 9457 §4.2.1). */
export class HttpError extends Error {
  readonly status: 405 | 406 | 414 | 415;

  constructor(status: HttpError['status'], message: string) {
    super(message);
    this.name = 'HttpError';
    this.status = status;
  }
}

/** Answers with the problem that `error` is; logs what a caller is not told. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const known = toKnown(error, request);
  const body = toProblem(known, request.id);
  if (body.status >= 500)
    request.log.error({ err: known.cause ?? known, requestId: request.id, code: body.code }, 'a request failed');
  if (body.status === 401) reply.header('www-authenticate', 'Bearer realm="writ"');
  if (body.retryAfter !== undefined) reply.header('retry-after', String(Math.ceil(body.retryAfter)));
  return reply.code(body.status).type(PROBLEM_TYPE).send(body);
}

export function toProblem(error: AppError | HttpError, requestId: string): ProblemBody {
  const told =
    error instanceof AppError
      ? problem(error)
      : {
          type: 'about:blank',
          title: STATUS_CODES[error.status] ?? 'Error',
          status: error.status,
          detail: error.message,
          code: 'invalid' as const,
        };
  const { errors, ...rest } = { errors: undefined, ...told };
  return {
    ...rest,
    instance: `urn:uuid:${requestId}`,
    requestId,
    ...(errors !== undefined && { errors: errors.map(({ message, ...finding }) => ({ ...finding, detail: message })) }),
  };
}

/** What fastify reports about a request, in our words: its own name library internals. */
function toKnown(error: unknown, request: FastifyRequest): AppError | HttpError {
  if (error instanceof AppError || error instanceof HttpError) return error;
  const findings = findingsOf(error);
  if (findings !== undefined) return findings;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new AppError('too-large', 'The body is larger than 1 MiB, the most that is read.');
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new HttpError(415, `This resource does not take a body of this Content-Type${accepted(request)}.`);
    // Only QUERY comes here, before it is known that no resource takes it.
    case 'FST_ERR_ROUTE_MISSING_CONTENT_TYPE':
      return new HttpError(405, 'This method is not possible here.');
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new AppError('invalid', 'The body is empty; it must be a JSON object.');
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return new AppError('invalid', 'The body is not valid JSON.');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new AppError('invalid', 'The body is not as long as Content-Length says.');
    case 'FST_ERR_BAD_URL':
      return new AppError('invalid', 'The path is not a valid URL: a percent sign must start an escape.');
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new HttpError(414, 'A part of the path is longer than any name can be.');
    case 'ECONNRESET':
    case 'ABORT_ERR':
      return new AppError('invalid', 'The connection ended before the body did.');
    default:
      return toAppError(error);
  }
}

function accepted(request: FastifyRequest): string {
  const consumes =
    request.routeOptions.schema?.consumes ?? (request.routeOptions.schema?.body ? ['application/json'] : []);
  return consumes.length === 0 ? '' : `; send ${consumes.join(', ')}`;
}

/** What is so broken that it is no HTTP request: answered by hand on the socket, which is then closed. */
export function refuseRawRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, detail] = rawRefusals[error.code ?? ''] ?? [400, 'This is not a valid HTTP request.'];
  const title = STATUS_CODES[status] ?? 'Bad Request';
  const body = JSON.stringify({ type: 'about:blank', title, status, detail, code: 'invalid' });
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\nContent-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

const rawRefusals: Readonly<Record<string, readonly [number, string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'The header is larger than 16 KiB.'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request did not arrive in time.'],
};
