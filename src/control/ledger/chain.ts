import type { BatchHeader } from '../../core/audit/batch-header.ts';
import { lastSeqOf } from '../../core/audit/batch-header.ts';

/** What the ledger knows of one sidecar. A value; it follows from the sidecar's batches in their order. */
export interface Chain {
  /** 0 before the first batch. */
  readonly epoch: number;
  readonly lastSeq: number;
  /** Hash of the last batch; empty before the first. */
  readonly lastHash: Buffer;
  /** Of the stream that sent the last batch. */
  readonly bootId: string;
  readonly streamId: number;
  /** The last batches, oldest first: what a resent batch is compared with. */
  readonly recent: readonly RecentBatch[];
}

export interface RecentBatch {
  readonly epoch: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly hash: Buffer;
}

/** More than the batches that a sidecar may have under way. */
const MAX_RECENT = 32;

export const emptyChain: Chain = Object.freeze({
  epoch: 0,
  lastSeq: 0,
  lastHash: Buffer.alloc(0),
  bootId: '',
  streamId: 0,
  recent: Object.freeze([]),
});

export type Verdict =
  /** It follows what is there. */
  | 'next'
  /** It follows, in a new epoch: the sidecar admits that records are missing. */
  | 'next-epoch'
  /** It is there already. */
  | 'duplicate'
  /** Something is missing before it. */
  | 'gap'
  /** It contradicts what is there. */
  | 'fork';

/** Where a batch stands; its signature and root are good. */
export function judge(chain: Chain, header: BatchHeader, hash: Buffer): Verdict {
  if (header.epoch > chain.epoch) return header.firstSeq === 1 && header.prevHash.length === 0 ? 'next-epoch' : 'gap';
  if (header.epoch === chain.epoch && header.firstSeq > chain.lastSeq + 1) return 'gap';
  if (header.epoch === chain.epoch && header.firstSeq === chain.lastSeq + 1) {
    return header.prevHash.equals(chain.lastHash) ? 'next' : 'fork';
  }
  const known = chain.recent.find((batch) => batch.epoch === header.epoch && batch.hash.equals(hash));
  if (known !== undefined) return 'duplicate';
  // Other than what is there in the same place, or overlapping it; or older than we compare, which no sidecar resends.
  return 'fork';
}

export function extend(chain: Chain, header: BatchHeader, hash: Buffer, bootId: string, streamId: number): Chain {
  const lastSeq = lastSeqOf(header);
  const batch: RecentBatch = { epoch: header.epoch, firstSeq: header.firstSeq, lastSeq, hash };
  return {
    epoch: header.epoch,
    lastSeq,
    lastHash: hash,
    bootId,
    streamId,
    recent: [...chain.recent.slice(-(MAX_RECENT - 1)), batch],
  };
}
