import { verify, X509Certificate } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import { batchKeyObject, batchKeyStatement, verifySignature } from './batch.ts';
import type { BatchHeader } from './batch-header.ts';
import { batchHash, MAX_HEADER_BYTES, parseBatchHeader } from './batch-header.ts';
import { fromBase64 } from './note.ts';

/**
 * What stands in the log for one batch: a leaf. It holds everything that was signed about the batch, and who signed it, so
 * that from the log alone it can be checked that a sidecar's batches follow each other without a gap, whoever keeps the log.
 * Its bytes are compact JSON with these keys in this order; there is exactly one spelling. They are at most a few kB, and the
 * events are not among them: their Merkle root is, in the header.
 */
export interface LogRecord {
  readonly version: 1;
  /** When the ledger received the batch, by its own clock: milliseconds since the epoch. */
  readonly receivedAt: number;
  /** SPIFFE ID of whom mTLS has verified as the sender. */
  readonly spiffeId: string;
  /** Ed25519, raw, 32 bytes. */
  readonly batchKey: Buffer;
  /** SHA-256 of the certificate (DER) whose key vouches for the batch key. */
  readonly certificate: Buffer;
  /** By the batch key over the bytes of the header: 64 bytes. */
  readonly signature: Buffer;
  /** Canonical bytes of the `BatchHeader`. */
  readonly header: Buffer;
}

export const MAX_LOG_RECORD_BYTES = 8192;
const MAX_SPIFFE_ID = 2048;

export function encodeLogRecord(record: LogRecord): Buffer {
  const head = JSON.stringify({
    v: record.version,
    received: record.receivedAt,
    spiffeId: record.spiffeId,
    key: record.batchKey.toString('hex'),
    certificate: record.certificate.toString('hex'),
    signature: record.signature.toString('base64'),
  });
  // The header is JSON already, and its very bytes are what was signed.
  return Buffer.concat([Buffer.from(`${head.slice(0, -1)},"batch":`, 'utf8'), record.header, Buffer.from('}')]);
}

export interface ReadLogRecord extends LogRecord {
  readonly batch: BatchHeader;
}

/** The record in a log entry, which may be anybody's. Throws `proof-refused` for what `encodeLogRecord` does not write. */
export function parseLogRecord(bytes: Uint8Array): ReadLogRecord {
  if (bytes.length > MAX_LOG_RECORD_BYTES) throw refused(`it is longer than ${MAX_LOG_RECORD_BYTES} bytes`);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fields = parseObject(buffer);
  const at = buffer.indexOf(BATCH);
  if (fields.v !== 1 || at < 0) throw refused('its version is unknown');
  const header = buffer.subarray(at + BATCH.length, -1);
  if (header.length > MAX_HEADER_BYTES) throw refused('its batch header is too long');
  const record: ReadLogRecord = Object.freeze({
    version: 1,
    receivedAt: timeIn(fields.received),
    spiffeId: spiffeIdIn(fields.spiffeId),
    batchKey: hexIn(fields.key, 'key'),
    certificate: hexIn(fields.certificate, 'certificate'),
    signature: signatureIn(fields.signature),
    header,
    batch: headerIn(header),
  });
  if (!encodeLogRecord(record).equals(buffer)) throw refused('it is not in canonical form');
  return record;
}

/** Whether the batch key of the record signed its header: what a log cannot make up. */
export function isSignedBySidecar(record: LogRecord): boolean {
  return verifySignature(record, batchKeyObject(record.batchKey));
}

/** What the next batch of the same sidecar names as the one before. */
export function recordedHash(record: LogRecord): Buffer {
  return batchHash(record.header);
}

/** Whether the key of `certificate` (DER) vouches for the batch key, and the record means this certificate. */
export function isBoundTo(
  record: Pick<LogRecord, 'certificate' | 'spiffeId' | 'batchKey'> & {
    readonly batch: Pick<BatchHeader, 'instanceId'>;
  },
  certificate: Buffer,
  keySignature: Buffer,
): boolean {
  try {
    const parsed = new X509Certificate(certificate);
    if (parsed.fingerprint256.replaceAll(':', '').toLowerCase() !== record.certificate.toString('hex')) return false;
    const statement = batchKeyStatement(record.batch.instanceId, record.batchKey);
    return (
      (parsed.subjectAltName ?? '').split(', ').includes(`URI:${record.spiffeId}`) &&
      verify('sha256', statement, parsed.publicKey, keySignature)
    );
  } catch {
    return false;
  }
}

// No field before it can contain this: quotes are escaped in texts.
const BATCH = Buffer.from(',"batch":{', 'utf8').subarray(0, -1);

function parseObject(bytes: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw refused('it is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null) throw refused('it is not an object');
  return value as Record<string, unknown>;
}

function timeIn(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw refused('its time is malformed');
  return value;
}

function spiffeIdIn(value: unknown): string {
  if (typeof value !== 'string' || value.length > MAX_SPIFFE_ID || !/^spiffe:\/\/[!-~]+$/.test(value))
    throw refused('its SPIFFE ID is malformed');
  return value;
}

function hexIn(value: unknown, name: string): Buffer {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value)) throw refused(`${name} is not 32 bytes in hex`);
  return Buffer.from(value, 'hex');
}

function signatureIn(value: unknown): Buffer {
  const bytes = typeof value === 'string' ? fromBase64(value) : undefined;
  if (bytes?.length !== 64) throw refused('its signature is malformed');
  return bytes;
}

function headerIn(bytes: Buffer): BatchHeader {
  try {
    return parseBatchHeader(bytes);
  } catch (cause) {
    throw refused('its batch header is malformed', cause);
  }
}

function refused(why: string, cause?: unknown): AppError {
  return new AppError('proof-refused', `A log entry is refused: ${why}.`, { cause });
}
