import type { ServiceError } from '@grpc/grpc-js';
import { Metadata } from '@grpc/grpc-js';
import type { Finding } from '../base/errors.ts';
import { toAppError } from '../base/errors.ts';
import { errorTable, trailer } from './errors.ts';

/** Of `writ-details-bin`: HTTP/2 peers refuse large header blocks. Findings that do not fit are left out. */
export const MAX_DETAILS_BYTES = 8 * 1024;
/** Of the status message, in UTF-16 units; longer ones are cut. */
export const MAX_MESSAGE_LENGTH = 2048;

/**
 * Any failure as the Error that the gRPC library takes from a callback or a stream (`destroy`): status by the table, the
 * message, and our own code in the trailer `writ-code`. What was not expected becomes `internal` and tells the caller
 * nothing.
 */
export function toServiceError(error: unknown): ServiceError {
  const appError = toAppError(error);
  const metadata = new Metadata();
  metadata.set(trailer.code, appError.code);
  if (appError.details.length > 0) metadata.set(trailer.details, encodeFindings(appError.details));
  if (appError.retryAfterSeconds !== undefined) metadata.set(trailer.retryAfter, String(appError.retryAfterSeconds));
  // The library percent-encodes the text with encodeURI, which throws on half a surrogate pair: whole characters only.
  const details = appError.message.slice(0, MAX_MESSAGE_LENGTH).toWellFormed();
  const code: number = errorTable[appError.code].grpc;
  return Object.assign(new Error(details), { code, details, metadata });
}

function encodeFindings(findings: readonly Finding[]): Buffer {
  let bytes = 2;
  const fitting: string[] = [];
  for (const finding of findings) {
    const json = JSON.stringify(finding);
    bytes += Buffer.byteLength(json) + 1;
    if (bytes > MAX_DETAILS_BYTES) break;
    fitting.push(json);
  }
  return Buffer.from(`[${fitting.join(',')}]`);
}
