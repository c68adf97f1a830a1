import { hash } from 'node:crypto';
import { AppError } from '../../../base/errors.ts';
import { openBatch, verifyBatchSignature } from '../../../core/audit/batch.ts';
import type { BatchHeader } from '../../../core/audit/batch-header.ts';
import { batchHash, lastSeqOf, parseBatchHeader } from '../../../core/audit/batch-header.ts';
import type { DiskProblem } from '../../../core/audit/disk-findings.ts';
import { isBoundTo } from '../../../core/audit/log-record.ts';
import type { LoggedBatch } from '../ledger.ts';
import type { BatchRecord, KeyMeta, KeyRecord, LedgerRecord } from '../record.ts';
import { decodeRecord, encodeRecord } from '../record.ts';
import { Sidecars } from '../sidecars.ts';
import type { DiskReport } from './report.ts';
import type { DiskRecord } from './segments.ts';

/** A batch of a ledger whose events are those that were signed, or not. */
export interface DiskBatch {
  /** For whoever finds something wrong with it. */
  readonly at: Omit<DiskProblem, 'what'>;
  readonly logged: LoggedBatch;
  /** Undefined when the record of the key cannot be read. */
  readonly key: KeyMeta | undefined;
  readonly isGood: boolean;
}

/** Holds every record of a ledger against what was signed, and follows what the ledger knows of sidecars. */
export class LedgerOnDisk {
  readonly #report: DiskReport;
  readonly #keys = new Map<number, KeyMeta>();
  /** What a start would derive from the records so far. */
  readonly sidecars = new Sidecars();
  #events = 0;

  constructor(report: DiskReport) {
    this.#report = report;
  }

  /** In batches that are as they were signed. */
  get events(): number {
    return this.#events;
  }

  /** The next record; undefined for one that is no batch. */
  take(at: DiskRecord): DiskBatch | undefined {
    const record = this.#decode(at);
    switch (record?.kind) {
      case 'key':
        this.#takeKey(at, record);
        return undefined;
      case 'batch':
      case 'evidence':
        return this.#takeBatch(at, record);
      default:
        return undefined;
    }
  }

  #decode(at: DiskRecord): LedgerRecord | undefined {
    try {
      const record = decodeRecord(at.payload);
      if (!encodeRecord(record).equals(at.payload))
        this.#problem(at, 'the record is not spelt as the ledger spells it');
      return record;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      this.#problem(at, error.message);
      return undefined;
    }
  }

  #takeKey(at: DiskRecord, { meta }: KeyRecord): void {
    this.#keys.set(at.number, meta);
    this.sidecars.applyKey(at.number, meta);
    const certificate = Buffer.from(meta.certificate, 'base64');
    const bound = {
      batchKey: Buffer.from(meta.batchKey, 'hex'),
      certificate: hash('sha256', certificate, 'buffer'),
      spiffeId: meta.spiffeId,
      batch: { instanceId: meta.instanceId },
    };
    if (isBoundTo(bound, certificate, Buffer.from(meta.signature, 'base64'))) return;
    this.#problem(at, 'the certificate does not vouch for the batch key', { sidecar: meta.instanceId });
  }

  #takeBatch(at: DiskRecord, { kind, meta, batch }: BatchRecord): DiskBatch | undefined {
    const header = this.#headerOf(at, batch.header);
    if (header === undefined) return undefined;
    const place = {
      ...(kind === 'batch' && { leaf: meta.leaf }),
      sidecar: header.instanceId,
      epoch: header.epoch,
      firstSeq: header.firstSeq,
      lastSeq: lastSeqOf(header),
    };
    const key = this.#keys.get(meta.key);
    const wrong = whatIsWrong(batch, header, meta.instanceId, key);
    if (wrong !== undefined) this.#problem(at, wrong, place);
    if (kind === 'evidence') {
      this.sidecars.applyEvidence(at.number, meta.instanceId, batchHash(batch.header));
      return undefined;
    }
    this.sidecars.applyBatch(at.number, meta, header, batchHash(batch.header));
    if (wrong === undefined) this.#events += header.count;
    const { leaf, instanceId, spiffeId, receivedAt, key: keyRecord } = meta;
    return {
      at: { file: at.file, offset: at.offset, record: at.number, ...place },
      key,
      isGood: wrong === undefined,
      logged: { leaf, instanceId, spiffeId, receivedAt, keyRecord, header, batch },
    };
  }

  #headerOf(at: DiskRecord, bytes: Buffer): BatchHeader | undefined {
    try {
      return parseBatchHeader(bytes);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      this.#problem(at, error.message);
      return undefined;
    }
  }

  #problem(at: DiskRecord, what: string, place: Partial<DiskProblem> = {}): void {
    this.#report.problem({ file: at.file, offset: at.offset, record: at.number, ...place, what });
  }
}

function whatIsWrong(
  batch: BatchRecord['batch'],
  header: BatchHeader,
  instanceId: string,
  key: KeyMeta | undefined,
): string | undefined {
  if (header.instanceId !== instanceId) return 'the batch is filed under another sidecar than the one that signed it';
  if (key === undefined) return 'the key that signed the batch is not in the ledger';
  try {
    if (!verifyBatchSignature(batch, Buffer.from(key.batchKey, 'hex')))
      return 'the batch is not signed by the key that it names';
    openBatch(batch, header);
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error.message;
    throw error;
  }
}
