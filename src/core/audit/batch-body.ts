import { AppError } from '../../base/errors.ts';
import { openBatch } from './batch.ts';
import type { ReadLogRecord } from './log-record.ts';
import { isBoundTo } from './log-record.ts';
import type { Batch } from './ship.ts';

/** What a keeper of a log holds besides an entry of it: the events, and who vouches for the key that signed them. */
export interface BatchBody {
  readonly batch: Batch;
  /** Of the sidecar, DER. */
  readonly certificate: Buffer;
  /** By its key, over the batch key. */
  readonly keySignature: Buffer;
}

/**
 * The events of a batch, canonical bytes, if they are those that its entry in the log is about. Everything in `body` is
 * attacker-controlled. Throws `proof-refused`, saying what differs.
 */
export function checkBody(record: ReadLogRecord, body: BatchBody): readonly Buffer[] {
  const { batch } = body;
  if (!batch.header.equals(record.header)) throw differs('its header is not the one in the log');
  if (!batch.signature.equals(record.signature)) throw differs('its signature is not the one in the log');
  if (!isBoundTo(record, body.certificate, body.keySignature))
    throw differs('the key that signed it is not that of the sidecar');
  try {
    return openBatch(batch, record.batch);
  } catch (cause) {
    throw differs(cause instanceof AppError ? cause.message : 'its events cannot be read', cause);
  }
}

function differs(why: string, cause?: unknown): AppError {
  return new AppError('proof-refused', `The events of a batch are refused: ${why}.`, { cause });
}
