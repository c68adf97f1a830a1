import type { KeyObject } from 'node:crypto';
import { createPublicKey, sign, verify } from 'node:crypto';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { AppError } from '../../base/errors.ts';
import type { BatchHeader } from './batch-header.ts';
import { batchHash, encodeBatchHeader, parseBatchHeader } from './batch-header.ts';
import { MAX_EVENT_BYTES } from './canonical.ts';
import { merkleRoot } from './merkle.ts';
import type { Batch, BatchEncoding } from './ship.ts';
import { MAX_BATCH_BYTES, MAX_BATCH_EVENTS } from './ship.ts';

/** What one event adds to a batch besides its own bytes. */
export const EVENT_PREFIX_BYTES = 4;
const KEY_BYTES = 32;
const ZSTD_LEVEL = 3;
/** Window of 8 MiB: more than a batch needs, and the most memory that a decompression may ask for. */
const ZSTD_MAX_WINDOW_LOG = 23;

export interface CutOptions {
  readonly instanceId: string;
  readonly epoch: number;
  readonly firstSeq: number;
  readonly prevHash: Buffer;
  /** Canonical bytes of 1 to `MAX_BATCH_EVENTS` events, at most `MAX_BATCH_BYTES` with their prefixes. */
  readonly events: readonly Uint8Array[];
}

/**
 * The header of a new batch. This is the cut: from here on the batch never changes, however often it is sent. Signature and
 * compression are made for each sending and may differ; the header's hash identifies the batch.
 */
export function cutHeader(options: CutOptions): BatchHeader {
  const bytes = options.events.reduce((sum, event) => sum + EVENT_PREFIX_BYTES + event.length, 0);
  if (options.events.length < 1 || options.events.length > MAX_BATCH_EVENTS || bytes > MAX_BATCH_BYTES) {
    throw new AppError(
      'invalid',
      `A batch holds 1 to ${MAX_BATCH_EVENTS} events and at most ${MAX_BATCH_BYTES} bytes.`,
    );
  }
  return Object.freeze({
    version: 1,
    instanceId: options.instanceId,
    epoch: options.epoch,
    firstSeq: options.firstSeq,
    count: options.events.length,
    prevHash: options.prevHash,
    root: merkleRoot(options.events),
    bytes,
  });
}

/** A batch as it travels, from the header that was cut for exactly these events. */
export function sealBatch(
  header: Uint8Array,
  events: readonly Uint8Array[],
  privateKey: KeyObject,
  encoding: BatchEncoding = 'zstd',
): Batch {
  const headerBytes = Buffer.from(header);
  const joined = joinEvents(events);
  const packed = encoding === 'zstd' ? compress(joined) : joined;
  // What does not shrink travels as it is, so that a batch is never larger than its events.
  const plain = packed.length >= joined.length;
  return {
    header: headerBytes,
    signature: sign(null, headerBytes, privateKey),
    events: plain ? joined : packed,
    encoding: plain ? 'identity' : encoding,
  };
}

/** Cuts and seals in one step. */
export function cutBatch(options: CutOptions & { readonly privateKey: KeyObject; readonly encoding?: BatchEncoding }): {
  readonly batch: Batch;
  readonly header: BatchHeader;
  readonly hash: Buffer;
} {
  const header = cutHeader(options);
  const batch = sealBatch(encodeBatchHeader(header), options.events, options.privateKey, options.encoding);
  return { batch, header, hash: batchHash(batch.header) };
}

/**
 * The events of a batch, checked against its header: their number, their size and their Merkle root. They are only split,
 * not decoded. Everything in `batch` is attacker-controlled. Throws `too-large` for a batch beyond the limits of the
 * protocol or a decompression bomb, `audit-refused` for whatever else does not agree.
 */
export function openBatch(batch: Pick<Batch, 'header' | 'events' | 'encoding'>, header?: BatchHeader): Buffer[] {
  const expected = header ?? parseBatchHeader(batch.header);
  const joined = batch.encoding === 'zstd' ? decompress(batch.events, expected.bytes) : batch.events;
  if (joined.length !== expected.bytes) throw refused('its events have another size than its header says');
  const events = splitEvents(joined, expected.count);
  if (!merkleRoot(events).equals(expected.root)) throw refused('its Merkle root is not that of its events');
  return events;
}

/** Whether `batchKey` (Ed25519, raw) signed the header. */
export function verifyBatchSignature(batch: Pick<Batch, 'header' | 'signature'>, batchKey: Uint8Array): boolean {
  return verifySignature(batch, batchKeyObject(batchKey));
}

/** As `verifyBatchSignature`, for a key that is used many times. */
export function verifySignature(batch: Pick<Batch, 'header' | 'signature'>, batchKey: KeyObject): boolean {
  return batch.signature.length === 64 && verify(null, batch.header, batchKey, batch.signature);
}

/** What the key of a sidecar's certificate signs, so that its batch key is bound to its identity. */
export function batchKeyStatement(instanceId: string, batchKey: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`writ batch key v1\n${instanceId}\n`, 'utf8'), batchKey]);
}

/** A raw Ed25519 public key as a key object. Throws `invalid` when it is not 32 bytes. */
export function batchKeyObject(raw: Uint8Array): KeyObject {
  if (raw.length !== KEY_BYTES) throw new AppError('invalid', `A batch key is an Ed25519 key of ${KEY_BYTES} bytes.`);
  return createPublicKey({
    format: 'jwk',
    key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(raw).toString('base64url') },
  });
}

/** The public half of an Ed25519 key, raw. */
export function rawBatchKey(privateKey: KeyObject): Buffer {
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' });
  return Buffer.from(jwk.x ?? '', 'base64url');
}

function joinEvents(events: readonly Uint8Array[]): Buffer {
  const joined = Buffer.allocUnsafe(events.reduce((sum, event) => sum + EVENT_PREFIX_BYTES + event.length, 0));
  let offset = 0;
  for (const event of events) {
    offset = joined.writeUInt32BE(event.length, offset);
    joined.set(event, offset);
    offset += event.length;
  }
  return joined;
}

function splitEvents(joined: Buffer, count: number): Buffer[] {
  const events: Buffer[] = [];
  let offset = 0;
  while (offset < joined.length) {
    if (joined.length - offset < EVENT_PREFIX_BYTES) throw refused('its last event is cut off');
    const length = joined.readUInt32BE(offset);
    offset += EVENT_PREFIX_BYTES;
    if (length > MAX_EVENT_BYTES) throw refused(`an event is longer than ${MAX_EVENT_BYTES} bytes`);
    if (length > joined.length - offset) throw refused('its last event is cut off');
    events.push(joined.subarray(offset, offset + length));
    offset += length;
    if (events.length > count) break;
  }
  if (events.length !== count) throw refused('it holds another number of events than its header says');
  return events;
}

function compress(bytes: Buffer): Buffer {
  return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } });
}

function decompress(bytes: Buffer, size: number): Buffer {
  try {
    return zstdDecompressSync(bytes, {
      // A bomb stops here: the output never grows beyond what the signed header allows.
      maxOutputLength: Math.max(size, 1),
      params: { [constants.ZSTD_d_windowLogMax]: ZSTD_MAX_WINDOW_LOG },
    });
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE') {
      throw new AppError('too-large', 'The batch is refused: its events are larger than its header says.', { cause });
    }
    throw refused('its events do not decompress', cause);
  }
}

function refused(why: string, cause?: unknown): AppError {
  return new AppError('audit-refused', `The batch is refused: ${why}.`, { cause });
}
