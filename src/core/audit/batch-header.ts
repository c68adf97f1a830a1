import { hash } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import { HASH_BYTES } from './merkle.ts';
import { MAX_BATCH_BYTES, MAX_BATCH_EVENTS } from './ship.ts';

/**
 * What a sidecar signs for a batch, and what the ledger's tree holds. Its bytes are compact JSON with these keys in this
 * order; there is exactly one spelling.
 */
export interface BatchHeader {
  /** Version of this header and of the encoding of the events. */
  readonly version: 1;
  /** Instance id of the sidecar. */
  readonly instanceId: string;
  /** From 1. */
  readonly epoch: number;
  /** Sequence number, from 1, of the first event. */
  readonly firstSeq: number;
  /** 1 to `MAX_BATCH_EVENTS`. */
  readonly count: number;
  /** Hash of the batch before it in the same epoch; empty for the first. */
  readonly prevHash: Buffer;
  /** RFC 6962 root over the canonical bytes of the events. */
  readonly root: Buffer;
  /** Bytes of the events with their length prefixes, uncompressed; at most `MAX_BATCH_BYTES`. */
  readonly bytes: number;
}

export const MAX_HEADER_BYTES = 1024;
const MAX_INSTANCE_ID = 128;

export function encodeBatchHeader(header: BatchHeader): Buffer {
  return Buffer.from(
    JSON.stringify({
      v: header.version,
      instance: header.instanceId,
      epoch: header.epoch,
      firstSeq: header.firstSeq,
      count: header.count,
      prevHash: header.prevHash.toString('hex'),
      root: header.root.toString('hex'),
      bytes: header.bytes,
    }),
    'utf8',
  );
}

/** The header in `bytes`, which come from a sidecar. Throws `invalid` for everything that `encodeBatchHeader` does not write. */
export function parseBatchHeader(bytes: Uint8Array): BatchHeader {
  if (bytes.length > MAX_HEADER_BYTES) throw invalid(`it is longer than ${MAX_HEADER_BYTES} bytes`);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fields = parseObject(buffer);
  if (fields.v !== 1) throw invalid('its version is unknown');
  const header: BatchHeader = Object.freeze({
    version: 1,
    instanceId: instanceIdIn(fields.instance),
    epoch: numberIn(fields.epoch, 'epoch', Number.MAX_SAFE_INTEGER),
    firstSeq: numberIn(fields.firstSeq, 'firstSeq', Number.MAX_SAFE_INTEGER - MAX_BATCH_EVENTS),
    count: numberIn(fields.count, 'count', MAX_BATCH_EVENTS),
    prevHash: hashIn(fields.prevHash, 'prevHash', true),
    root: hashIn(fields.root, 'root', false),
    bytes: numberIn(fields.bytes, 'bytes', MAX_BATCH_BYTES),
  });
  if (!encodeBatchHeader(header).equals(buffer)) throw invalid('it is not in canonical form');
  return header;
}

/** What the next batch names as its predecessor, and what an acknowledgement names. */
export function batchHash(header: Uint8Array): Buffer {
  return hash('sha256', header, 'buffer');
}

/** Sequence number of the last event. */
export function lastSeqOf(header: Pick<BatchHeader, 'firstSeq' | 'count'>): number {
  return header.firstSeq + header.count - 1;
}

export function isInstanceId(value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= MAX_INSTANCE_ID && /^[!-~]+$/.test(value);
}

function parseObject(bytes: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw invalid('it is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null) throw invalid('it is not an object');
  return value as Record<string, unknown>;
}

function instanceIdIn(value: unknown): string {
  if (!isInstanceId(value)) throw invalid('its instance id is malformed');
  return value;
}

function numberIn(value: unknown, name: string, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1 || value > max) {
    throw invalid(`${name} is not a whole number from 1 to ${max}`);
  }
  return value;
}

function hashIn(value: unknown, name: string, mayBeEmpty: boolean): Buffer {
  const good = typeof value === 'string' && (/^[0-9a-f]{64}$/.test(value) || (mayBeEmpty && value === ''));
  if (!good) throw invalid(`${name} is not a hash of ${HASH_BYTES} bytes`);
  return Buffer.from(value, 'hex');
}

function invalid(why: string, cause?: unknown): AppError {
  return new AppError('invalid', `Not a batch header: ${why}.`, { cause });
}
