import { hash } from 'node:crypto';
import { encodeLogRecord } from '../../../core/audit/log-record.ts';
import type { Ledger, LoggedBatch } from '../ledger.ts';
import type { KeyMeta } from '../record.ts';

/** The log entry of a batch. Equal batches of a ledger have equal bytes, whenever they are made. */
export function entryOf(batch: LoggedBatch, key: KeyMeta): Buffer {
  return encodeLogRecord({
    version: 1,
    receivedAt: batch.receivedAt,
    spiffeId: batch.spiffeId,
    batchKey: Buffer.from(key.batchKey, 'hex'),
    certificate: hash('sha256', Buffer.from(key.certificate, 'base64'), 'buffer'),
    signature: batch.batch.signature,
    header: batch.batch.header,
  });
}

/** One per sidecar that ships; what it forgets is read again. */
const MAX_KEYS = 4096;

/** The batch keys of a ledger by their record number. */
export class KeyCache {
  readonly #ledger: Pick<Ledger, 'keyOf'>;
  readonly #keys = new Map<number, KeyMeta>();

  constructor(ledger: Pick<Ledger, 'keyOf'>) {
    this.#ledger = ledger;
  }

  async get(record: number): Promise<KeyMeta> {
    const known = this.#keys.get(record);
    if (known !== undefined) return known;
    const key = await this.#ledger.keyOf(record);
    if (this.#keys.size >= MAX_KEYS) this.#keys.clear();
    this.#keys.set(record, key);
    return key;
  }
}
