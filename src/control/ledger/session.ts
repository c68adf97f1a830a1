import type { KeyObject } from 'node:crypto';
import { AppError, unreachable } from '../../base/errors.ts';
import { batchKeyObject } from '../../core/audit/batch.ts';
import type { BatchHeader } from '../../core/audit/batch-header.ts';
import { lastSeqOf } from '../../core/audit/batch-header.ts';
import type { Batch, ShipAck, ShipCaller, ShipHello, ShipNack, ShipNackCode } from '../../core/audit/ship.ts';
import { admit } from './admit.ts';
import { judge } from './chain.ts';
import type { Sidecar } from './sidecars.ts';

export type ShipReply = { readonly ack: ShipAck } | { readonly nack: ShipNack };

/** One stream of one sidecar. */
export interface LedgerSession {
  /**
   * Takes a batch. Resolves with the acknowledgement when it is durable (also when it was already), or with the refusal; a
   * refusal ends the session. Batches may be handed in without waiting for the answers; they count in the order of the calls.
   */
  append(batch: Batch): Promise<ShipReply>;
  /** The last event of this stream that is below a checkpoint of `size` batches. Sizes only grow from call to call. */
  loggedThrough(size: number): { readonly epoch: number; readonly seq: number } | undefined;
  /** The stream has ended. Idempotent. */
  close(): void;
}

/** What a session needs of the ledger. */
export interface SessionHost {
  now(): number;
  /** Stores a batch that follows what is accepted; resolves when it is durable. */
  store(session: Session, batch: Batch, header: BatchHeader, hash: Buffer): Promise<void>;
  /** Keeps a batch that contradicts what is durable. */
  keepEvidence(session: Session, batch: Batch, hash: Buffer): void;
  epochChanged(session: Session, header: BatchHeader): void;
  closed(session: Session): void;
}

export interface SessionOptions {
  readonly caller: ShipCaller;
  readonly hello: ShipHello;
  readonly sidecar: Sidecar;
  readonly streamId: number;
}

/** Of the batches that nobody has asked about: those of some minutes. */
const MAX_PLACES = 4096;

export class Session implements LedgerSession {
  readonly caller: ShipCaller;
  readonly hello: ShipHello;
  readonly sidecar: Sidecar;
  readonly streamId: number;
  /** When the sidecar was last heard over this stream. */
  lastHeardAt: number;
  readonly #host: SessionHost;
  readonly #batchKey: KeyObject;
  /** Batches that no checkpoint was asked for yet, in order. */
  #places: { readonly leaf: number; readonly epoch: number; readonly seq: number }[] = [];
  #loggedThrough: { readonly epoch: number; readonly seq: number } | undefined;
  #ended: { readonly code: ShipNackCode; readonly message: string } | undefined;

  /** How far the sidecar's clock was ahead of ours when it connected. */
  readonly clockSkewMs: number;

  constructor(host: SessionHost, options: SessionOptions) {
    this.caller = options.caller;
    this.hello = options.hello;
    this.sidecar = options.sidecar;
    this.streamId = options.streamId;
    this.#host = host;
    this.#batchKey = batchKeyObject(options.hello.batchKey);
    this.lastHeardAt = host.now();
    this.clockSkewMs = options.hello.time - this.lastHeardAt;
  }

  async append(batch: Batch): Promise<ShipReply> {
    this.lastHeardAt = this.#host.now();
    if (this.#ended !== undefined) return this.#nack(this.#ended.code, this.#ended.message);
    const admitted = admit(batch, this.caller.instanceId, this.#batchKey);
    if ('refusal' in admitted) return this.#refuse(admitted.refusal.code, admitted.refusal.message);
    const { header, hash } = admitted;
    const verdict = judge(this.sidecar.accepted.chain, header, hash);
    switch (verdict) {
      case 'next-epoch':
        this.#host.epochChanged(this, header);
        return this.#acknowledge(this.#host.store(this, batch, header, hash), header, hash);
      case 'next':
        return this.#acknowledge(this.#host.store(this, batch, header, hash), header, hash);
      case 'duplicate':
        // It may still be on its way to the disk.
        return this.#acknowledge(this.sidecar.settled, header, hash);
      case 'gap':
        return this.#refuse('gap', 'The batch does not follow what the ledger has; something is missing before it.');
      case 'fork':
        this.#host.keepEvidence(this, batch, hash);
        return this.#refuse('fork', 'The batch contradicts what the ledger has in its place. It is kept as evidence.');
      default:
        return unreachable(verdict);
    }
  }

  /** A batch of this stream is durable. */
  stored(leaf: number, header: BatchHeader): void {
    if (this.hello.log === undefined) return;
    this.#places.push({ leaf, epoch: header.epoch, seq: lastSeqOf(header) });
    if (this.#places.length > MAX_PLACES) this.#places.shift();
  }

  loggedThrough(size: number): { readonly epoch: number; readonly seq: number } | undefined {
    const last = this.#places.findLast(({ leaf }) => leaf < size);
    if (last !== undefined) {
      this.#loggedThrough = { epoch: last.epoch, seq: last.seq };
      this.#places = this.#places.filter(({ leaf }) => leaf >= size);
    }
    return this.#loggedThrough;
  }

  close(): void {
    this.end('fenced', 'The stream has ended.');
    this.#host.closed(this);
  }

  /** From now on every batch is refused so. */
  end(code: ShipNackCode, message: string): void {
    this.#ended ??= { code, message };
  }

  async #acknowledge(durable: Promise<unknown>, header: BatchHeader, hash: Buffer): Promise<ShipReply> {
    try {
      await durable;
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      return this.#refuse('retry-later', 'The ledger cannot store the batch now. Its log says why.');
    }
    return { ack: { epoch: header.epoch, durableThroughSeq: lastSeqOf(header), batchHash: hash } };
  }

  #refuse(code: ShipNackCode, message: string): ShipReply {
    this.end(code, message);
    return this.#nack(code, message);
  }

  #nack(code: ShipNackCode, message: string): ShipReply {
    return { nack: nackOf(this.sidecar, code, message) };
  }
}

/** A refusal with what the ledger has. */
export function nackOf(sidecar: Sidecar, code: ShipNackCode, message: string): ShipNack {
  const { epoch, lastSeq, lastHash } = sidecar.accepted.chain;
  return {
    code,
    expectedEpoch: Math.max(epoch, 1),
    expectedSeq: lastSeq + 1,
    expectedPrevHash: lastHash,
    message,
  };
}
