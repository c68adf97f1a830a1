/**
 * The messages of the shipping protocol, free of protobuf (`wire/audit.ts` converts and checks them). Numbers are safe
 * integers, byte strings are Buffers.
 *
 * Rules, in short: a batch is cut once and never changed; `firstSeq` follows the last durable event and `prevHash` is the
 * hash of the last durable batch; a resent durable batch is acknowledged again; anything else is refused with what the
 * ledger has.
 */
export interface ShipHello {
  readonly bootId: string;
  readonly epoch: number;
  readonly nextSeq: number;
  readonly lastBatchHash: Buffer;
  /** Ed25519, raw, 32 bytes. */
  readonly batchKey: Buffer;
  readonly batchKeySignature: Buffer;
  readonly time: number;
  /** How far the sidecar knows which logs; absent: it does not follow logs. */
  readonly log?: readonly LogPin[];
}

export interface LogPin {
  readonly origin: string;
  readonly size: number;
}

export interface ShipWelcome {
  readonly streamId: number;
  readonly expectedEpoch: number;
  readonly expectedSeq: number;
  readonly expectedPrevHash: Buffer;
  readonly creditBatches: number;
  /** A `ShipLogged` follows at once, and whenever the log has grown. */
  readonly sendsLog?: boolean;
}

export type BatchEncoding = 'identity' | 'zstd';

export interface Batch {
  /** Canonical header bytes: what was hashed and signed. */
  readonly header: Buffer;
  readonly signature: Buffer;
  readonly events: Buffer;
  readonly encoding: BatchEncoding;
}

export interface ShipAck {
  readonly epoch: number;
  readonly durableThroughSeq: number;
  readonly batchHash: Buffer;
}

/** How far the log has come. */
export interface ShipLogged {
  /** Signed note. */
  readonly checkpoint: Buffer;
  /** From the size that the sidecar knew: its pin, or that of the message before. */
  readonly consistency: readonly Buffer[];
  /** Verifier keys; in the first of a stream only. */
  readonly keys: readonly string[];
  /** The events of this stream up to here are below the checkpoint; both 0 for none. */
  readonly epoch: number;
  readonly loggedThroughSeq: number;
}

export const shipNackCodes = [
  'gap',
  'fork',
  'fenced',
  'bad-signature',
  'bad-root',
  'too-large',
  'retry-later',
  'clone',
] as const;
export type ShipNackCode = (typeof shipNackCodes)[number];

export interface ShipNack {
  readonly code: ShipNackCode;
  readonly expectedEpoch: number;
  readonly expectedSeq: number;
  readonly expectedPrevHash: Buffer;
  readonly message: string;
}

/** Who ships, as mTLS verified it. */
export interface ShipCaller {
  readonly instanceId: string;
  readonly spiffeId: string;
  /** The caller's certificate, DER: its key signed the batch key. */
  readonly certificate: Buffer;
}

export const MAX_BATCH_EVENTS = 4096;
/** Of the events, uncompressed. */
export const MAX_BATCH_BYTES = 2 * 1024 * 1024;
