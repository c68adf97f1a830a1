import { AppError } from '../../base/errors.ts';
import type { Batch, BatchEncoding } from '../../core/audit/ship.ts';

/**
 * What the ledger's journal holds: u8 kind ‖ u32 length of the meta data ‖ meta data (JSON) ‖ for batches the header, the
 * signature and the events, exactly as they came.
 */
export type LedgerRecord = BatchRecord | KeyRecord;

export interface BatchRecord {
  /** `evidence`: signed by the sidecar, but contradicting what is durable. It is no leaf and is never indexed. */
  readonly kind: 'batch' | 'evidence';
  readonly meta: BatchMeta;
  readonly batch: Batch;
}

export interface BatchMeta {
  /** Position among the batches, from 0; for evidence, that of the next batch. */
  readonly leaf: number;
  readonly instanceId: string;
  readonly spiffeId: string;
  /** Record number of the key that signed it. */
  readonly key: number;
  readonly bootId: string;
  readonly streamId: number;
  /** By the ledger's clock, milliseconds since the epoch. */
  readonly receivedAt: number;
}

/** A batch key and its binding to an identity: enough to check signatures when the sidecar is long gone. */
export interface KeyRecord {
  readonly kind: 'key';
  readonly meta: KeyMeta;
}

export interface KeyMeta {
  readonly instanceId: string;
  readonly spiffeId: string;
  /** Ed25519, raw, lower hex. */
  readonly batchKey: string;
  /** By the certificate's key over `batchKeyStatement`, base64. */
  readonly signature: string;
  /** DER, base64. */
  readonly certificate: string;
  readonly receivedAt: number;
}

const kinds = ['batch', 'evidence', 'key'] as const;
const SIGNATURE_BYTES = 64;
const encodings: readonly BatchEncoding[] = ['identity', 'zstd'];

export function encodeRecord(record: LedgerRecord): Buffer {
  const meta = Buffer.from(JSON.stringify(record.meta), 'utf8');
  const head = Buffer.alloc(5);
  head.writeUInt8(kinds.indexOf(record.kind));
  head.writeUInt32BE(meta.length, 1);
  if (record.kind === 'key') return Buffer.concat([head, meta]);
  const { header, signature, events, encoding } = record.batch;
  const sizes = Buffer.alloc(5);
  sizes.writeUInt8(encodings.indexOf(encoding));
  sizes.writeUInt32BE(header.length, 1);
  return Buffer.concat([head, meta, sizes, header, signature, events]);
}

/** Throws `incompatible-data` for what `encodeRecord` does not write. */
export function decodeRecord(payload: Buffer): LedgerRecord {
  const kind = payload.length < 5 ? undefined : kinds[payload.readUInt8(0)];
  const metaEnd = kind === undefined ? 0 : 5 + payload.readUInt32BE(1);
  if (kind === undefined || metaEnd > payload.length) throw strange();
  const meta = parseMeta(payload.subarray(5, metaEnd));
  if (kind === 'key') return { kind, meta: meta as unknown as KeyMeta };
  if (payload.length < metaEnd + 5) throw strange();
  const encoding = encodings[payload.readUInt8(metaEnd)];
  const headerEnd = metaEnd + 5 + payload.readUInt32BE(metaEnd + 1);
  const eventsStart = headerEnd + SIGNATURE_BYTES;
  if (encoding === undefined || eventsStart > payload.length) throw strange();
  const batch: Batch = {
    header: payload.subarray(metaEnd + 5, headerEnd),
    signature: payload.subarray(headerEnd, eventsStart),
    events: payload.subarray(eventsStart),
    encoding,
  };
  return { kind, meta: meta as unknown as BatchMeta, batch };
}

function parseMeta(bytes: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Told below.
  }
  throw strange();
}

function strange(): AppError {
  return new AppError(
    'incompatible-data',
    'The ledger holds a record that this version of Writ does not know. Run the version that wrote it.',
  );
}
