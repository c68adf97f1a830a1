import type { KeyObject } from 'node:crypto';
import { verify, X509Certificate } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import { batchKeyStatement, openBatch, verifySignature } from '../../core/audit/batch.ts';
import type { BatchHeader } from '../../core/audit/batch-header.ts';
import { batchHash, parseBatchHeader } from '../../core/audit/batch-header.ts';
import type { Batch, ShipCaller, ShipHello, ShipNackCode } from '../../core/audit/ship.ts';

export interface Refusal {
  readonly code: ShipNackCode;
  readonly message: string;
}

/** Whether the key of the caller's certificate vouches for the batch key in its hello. */
export function isBatchKeyBound(caller: ShipCaller, hello: ShipHello): boolean {
  try {
    const { publicKey } = new X509Certificate(caller.certificate);
    const statement = batchKeyStatement(caller.instanceId, hello.batchKey);
    return verify('sha256', statement, publicKey, hello.batchKeySignature);
  } catch {
    // A key that cannot sign this way has not signed.
    return false;
  }
}

/**
 * Everything about a batch that does not depend on others: who signed it, for whom, and that its events are those that were
 * signed. The events are hashed, not decoded. All of it is attacker-controlled until here.
 */
export function admit(
  batch: Batch,
  instanceId: string,
  batchKey: KeyObject,
): { readonly header: BatchHeader; readonly hash: Buffer } | { readonly refusal: Refusal } {
  if (!verifySignature(batch, batchKey))
    return refuse('bad-signature', 'The batch is not signed by the key of the hello.');
  try {
    const header = parseBatchHeader(batch.header);
    if (header.instanceId !== instanceId)
      return refuse('bad-signature', 'The batch names another sidecar than its sender.');
    openBatch(batch, header);
    return { header, hash: batchHash(batch.header) };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return refuse(error.code === 'too-large' ? 'too-large' : 'bad-root', error.message);
  }
}

function refuse(code: ShipNackCode, message: string): { readonly refusal: Refusal } {
  return { refusal: { code, message } };
}
