import type { ServiceError } from '@grpc/grpc-js';
import type { ErrorCode, Finding } from '../base/errors.ts';
import { AppError, errorCodes } from '../base/errors.ts';

/**
 * What an error code means on gRPC, over HTTP and as an exit status: the only place that knows.
 *
 * Exit statuses: 0 done, 1 failed or denied, 2 wrong usage or an impossible request, 3 server failed or out of reach, 4 not authenticated or
 * forbidden, 5 conflict or unmet precondition. (79, issues found, belongs to the analyzer and is no error.)
 */
export interface ErrorMeaning {
  /** gRPC status code. */
  readonly grpc: GrpcStatus;
  /** HTTP status code. */
  readonly http: number;
  /** Exit status of the CLI. */
  readonly exit: 1 | 2 | 3 | 4 | 5;
  /** The same for every error of this code (RFC 9457 `title`). */
  readonly title: string;
}

/** The numbers of the gRPC standard, so that the CLI needs no gRPC library to end with the right exit status. */
export const grpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type GrpcStatus = (typeof grpcStatus)[keyof typeof grpcStatus];

const s = grpcStatus;

export const errorTable: Readonly<Record<ErrorCode, ErrorMeaning>> = {
  invalid: { grpc: s.INVALID_ARGUMENT, http: 400, exit: 2, title: 'Invalid request' },
  'invalid-cursor': { grpc: s.INVALID_ARGUMENT, http: 400, exit: 2, title: 'Invalid cursor' },
  'cursor-expired': { grpc: s.OUT_OF_RANGE, http: 410, exit: 5, title: 'Cursor expired' },
  'invalid-document': { grpc: s.INVALID_ARGUMENT, http: 422, exit: 1, title: 'Invalid document' },
  unauthenticated: { grpc: s.UNAUTHENTICATED, http: 401, exit: 4, title: 'Not authenticated' },
  forbidden: { grpc: s.PERMISSION_DENIED, http: 403, exit: 4, title: 'Forbidden' },
  'not-found': { grpc: s.NOT_FOUND, http: 404, exit: 1, title: 'Not found' },
  conflict: { grpc: s.ALREADY_EXISTS, http: 409, exit: 5, title: 'Conflict' },
  'precondition-failed': { grpc: s.FAILED_PRECONDITION, http: 412, exit: 5, title: 'Precondition failed' },
  'precondition-required': { grpc: s.FAILED_PRECONDITION, http: 428, exit: 5, title: 'Precondition required' },
  'approval-required': { grpc: s.FAILED_PRECONDITION, http: 409, exit: 5, title: 'Approval required' },
  'plan-required': { grpc: s.FAILED_PRECONDITION, http: 409, exit: 5, title: 'Plan required' },
  'idempotency-mismatch': {
    grpc: s.FAILED_PRECONDITION,
    http: 422,
    exit: 5,
    title: 'Idempotency key of another request',
  },
  'idempotency-in-flight': { grpc: s.ABORTED, http: 409, exit: 5, title: 'Request still in flight' },
  'too-large': { grpc: s.RESOURCE_EXHAUSTED, http: 413, exit: 1, title: 'Too large' },
  exhausted: { grpc: s.RESOURCE_EXHAUSTED, http: 429, exit: 1, title: 'Too many requests' },
  'join-token-refused': { grpc: s.PERMISSION_DENIED, http: 403, exit: 4, title: 'Join token refused' },
  'csr-refused': { grpc: s.INVALID_ARGUMENT, http: 400, exit: 1, title: 'Certificate request refused' },
  'peer-refused': { grpc: s.UNAUTHENTICATED, http: 401, exit: 4, title: 'Peer refused' },
  'token-refused': { grpc: s.UNAUTHENTICATED, http: 401, exit: 4, title: 'Token refused' },
  'audit-gap': { grpc: s.FAILED_PRECONDITION, http: 409, exit: 5, title: 'Audit records are missing' },
  'audit-fork': { grpc: s.FAILED_PRECONDITION, http: 409, exit: 5, title: 'Audit records contradict' },
  'audit-fenced': { grpc: s.ABORTED, http: 409, exit: 5, title: 'A newer audit stream took over' },
  'audit-refused': { grpc: s.INVALID_ARGUMENT, http: 422, exit: 1, title: 'Audit batch refused' },
  'proof-refused': { grpc: s.DATA_LOSS, http: 422, exit: 1, title: 'Proof refused' },
  'audit-unavailable': { grpc: s.UNAVAILABLE, http: 503, exit: 3, title: 'Audit unavailable' },
  'incompatible-data': { grpc: s.DATA_LOSS, http: 500, exit: 1, title: 'Incompatible data' },
  unavailable: { grpc: s.UNAVAILABLE, http: 503, exit: 3, title: 'Unavailable' },
  'deadline-exceeded': { grpc: s.DEADLINE_EXCEEDED, http: 504, exit: 3, title: 'Deadline exceeded' },
  usage: { grpc: s.INVALID_ARGUMENT, http: 400, exit: 2, title: 'Wrong usage' },
  internal: { grpc: s.INTERNAL, http: 500, exit: 3, title: 'Internal error' },
};

export function exitCode(code: ErrorCode): ErrorMeaning['exit'] {
  return errorTable[code].exit;
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return errorCodes.some((code) => code === value);
}

/** An RFC 9457 problem, without what only the HTTP server knows (`instance`, `requestId`). */
export interface Problem {
  /** A reference to be resolved against the URI of the request (RFC 9457 §3.1.1): the page of the server that explains the code. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly errors?: readonly Finding[];
  /** Seconds; also sent as the header `Retry-After`. */
  readonly retryAfter?: number;
}

/** What an HTTP caller is told: never the cause. */
export function problem(error: AppError): Problem {
  const { http, title } = errorTable[error.code];
  return {
    type: `/docs/errors#${error.code}`,
    title,
    status: http,
    detail: error.message,
    code: error.code,
    ...(error.details.length > 0 && { errors: error.details }),
    ...(error.retryAfterSeconds !== undefined && { retryAfter: error.retryAfterSeconds }),
  };
}

/** Trailers that carry an AppError over gRPC; `status.ts` writes them. */
export const trailer = {
  code: 'writ-code',
  /** JSON: Finding[]. */
  details: 'writ-details-bin',
  /** Seconds. */
  retryAfter: 'writ-retry-after',
} as const;

/**
 * The AppError that a gRPC call failed with. Everything in it is what the other side said: a code that is not on the list,
 * or trailers that do not parse, count as absent.
 */
export function fromServiceError(error: ServiceError): AppError {
  const said = error.metadata?.get(trailer.code)[0];
  if (!isErrorCode(said)) return fromBareStatus(error);
  const retryAfterSeconds = Number(error.metadata.get(trailer.retryAfter)[0] ?? Number.NaN);
  return new AppError(said, error.details, {
    cause: error,
    details: parseFindings(error.metadata.get(trailer.details)[0]),
    ...(Number.isFinite(retryAfterSeconds) && retryAfterSeconds >= 0 && { retryAfterSeconds }),
  });
}

/** A failure that the gRPC library or something on the way reported, not our server. */
function fromBareStatus(error: ServiceError): AppError {
  // The library has one status for "too large" and "too often", and tells them apart in words only.
  const tooLarge = error.code === s.RESOURCE_EXHAUSTED && error.details.includes('larger than');
  const code = tooLarge ? 'too-large' : (bareStatusCode[error.code] ?? 'unavailable');
  return new AppError(code, `The control plane did not answer as expected: ${error.details || error.message}`, {
    cause: error,
  });
}

/** Without `writ-code`, INTERNAL and UNKNOWN are a broken connection or a proxy on the way: worth another try. */
const bareStatusCode: Readonly<Partial<Record<number, ErrorCode>>> = {
  [s.INVALID_ARGUMENT]: 'invalid',
  [s.DEADLINE_EXCEEDED]: 'deadline-exceeded',
  [s.NOT_FOUND]: 'not-found',
  [s.ALREADY_EXISTS]: 'conflict',
  [s.PERMISSION_DENIED]: 'forbidden',
  [s.RESOURCE_EXHAUSTED]: 'exhausted',
  [s.FAILED_PRECONDITION]: 'precondition-failed',
  [s.OUT_OF_RANGE]: 'invalid',
  [s.UNIMPLEMENTED]: 'invalid',
  [s.UNAUTHENTICATED]: 'unauthenticated',
};

function parseFindings(trailerValue: unknown): readonly Finding[] {
  if (!Buffer.isBuffer(trailerValue)) return [];
  try {
    const value: unknown = JSON.parse(trailerValue.toString('utf8'));
    return Array.isArray(value) ? value.filter(isFinding) : [];
  } catch {
    return [];
  }
}

function isFinding(value: unknown): value is Finding {
  return (
    typeof value === 'object' &&
    value !== null &&
    'code' in value &&
    typeof value.code === 'string' &&
    'message' in value &&
    typeof value.message === 'string'
  );
}
