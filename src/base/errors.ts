/**
 * The one error type of Writ.
 *
 * Every failure that a caller can meet has a code from a closed list. What a code means on gRPC, over HTTP and as an exit
 * status stands in one table, `wire/errors.ts`.
 */

/** Closed list. A new code is a new row here and in `wire/errors.ts`; the compiler asks for the second. */
export const errorCodes = [
  /** The request itself is wrong; sending it again will not help. */
  'invalid',
  /** A page was asked for with a cursor that this listing, with these filters, did not give out. */
  'invalid-cursor',
  /** A page was asked for with a cursor that is too old: the listing must be read from its start. */
  'cursor-expired',
  /** A document (policy, configuration) has findings; `details` lists them all with line and column. */
  'invalid-document',
  /** The caller did not prove who it is. */
  'unauthenticated',
  /** The caller is known and may not do this. */
  'forbidden',
  'not-found',
  /** It exists already, or the change contradicts what exists. */
  'conflict',
  /** The stored revision is not the one that the caller named (If-Match). */
  'precondition-failed',
  /** The caller must name the revision it changes (If-Match). */
  'precondition-required',
  /** A change of policies needs somebody else's agreement. */
  'approval-required',
  /** A change of policies needs to be played through over the recorded calls first. */
  'plan-required',
  /** An Idempotency-Key was used before, with another request or with another token. */
  'idempotency-mismatch',
  /** A request with the same Idempotency-Key is still being carried out. */
  'idempotency-in-flight',
  'too-large',
  /** A rate or quota is used up; `retryAfterSeconds` says when to come back. */
  'exhausted',
  /** A join token that is unknown, used or expired. One code for all three: no oracle for an attacker. */
  'join-token-refused',
  /** A certificate signing request that is malformed, too weak, too large, or not signed by its own key. */
  'csr-refused',
  /** A peer's certificate chain or SPIFFE ID did not verify. */
  'peer-refused',
  /** A JWT did not verify. */
  'token-refused',
  /** An audit batch that skips sequence numbers. */
  'audit-gap',
  /** An audit batch that contradicts one that is already durable. */
  'audit-fork',
  /** A newer stream of the same sidecar took over. */
  'audit-fenced',
  /** An audit batch whose signature or Merkle root is wrong. */
  'audit-refused',
  /** A proof, a checkpoint or a log that does not verify. */
  'proof-refused',
  /** The decision record could not be made durable, so the call was refused. */
  'audit-unavailable',
  /** Stored data that this version does not know, or that fails its checksum. */
  'incompatible-data',
  /** A dependency is away; trying again later may help. */
  'unavailable',
  'deadline-exceeded',
  /** The command line or configuration is wrong. */
  'usage',
  /** A defect in Writ. */
  'internal',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** One finding in a document. Lines and columns count from 1. */
export interface Finding {
  readonly code: string;
  readonly message: string;
  /** RFC 6901 pointer into the document, where there is one. */
  readonly pointer?: string;
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
}

export interface AppErrorOptions {
  /** For logs only: never sent to a caller. */
  readonly cause?: unknown;
  readonly details?: readonly Finding[];
  readonly retryAfterSeconds?: number;
}

export class AppError extends Error {
  readonly code: ErrorCode;
  readonly details: readonly Finding[];
  readonly retryAfterSeconds: number | undefined;

  /** @param message What went wrong, why, and how to mend it; it is shown to the caller, so it holds no secret. */
  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.details = options.details ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** An unexpected failure becomes `internal` with a message that tells a caller nothing; what it was stays in `cause`. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  return new AppError('internal', 'An internal error occurred. The server log has the details.', { cause: error });
}

/** For the default branch of an exhaustive switch: does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new AppError('internal', `Unreachable: ${JSON.stringify(value)}`);
}
