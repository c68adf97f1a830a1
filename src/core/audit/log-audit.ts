import type { KeyObject } from 'node:crypto';
import { AppError } from '../../base/errors.ts';
import { batchKeyObject, verifySignature } from './batch.ts';
import { lastSeqOf } from './batch-header.ts';
import type { ReadLogRecord } from './log-record.ts';
import { parseLogRecord, recordedHash } from './log-record.ts';
import { leafHash } from './merkle.ts';
import type { AddedHash } from './tree-edge.ts';
import { TreeEdge } from './tree-edge.ts';

/** Where a sidecar's chain of batches ends. */
export interface ChainEnd {
  readonly epoch: number;
  readonly lastSeq: number;
  /** Of the last batch, lower hex. */
  readonly lastHash: string;
}

/** What a log was found to hold, up to some leaf: enough to go on from there. */
export interface LogFindings {
  /** Leaves, each a batch. */
  readonly size: number;
  readonly events: number;
  /** By instance id. */
  readonly chains: ReadonlyMap<string, ChainEnd>;
  /** Epochs that follow another: each is a sidecar's own admission that records are missing. */
  readonly newEpochs: number;
  readonly edge: TreeEdge;
}

export const noFindings = (): LogFindings => ({
  size: 0,
  events: 0,
  chains: new Map(),
  newEpochs: 0,
  edge: TreeEdge.empty(),
});

const MAX_KEYS = 4096;

/**
 * Reads a log leaf by leaf, with no trust in whoever keeps it: every entry is signed by the key that it names, and follows the
 * batch of the same sidecar before it. Whoever leaves a batch out, changes one or puts one in breaks that, or the root.
 */
export class LogAudit {
  readonly #edge: TreeEdge;
  readonly #chains: Map<string, ChainEnd>;
  readonly #keys = new Map<string, KeyObject>();
  #events: number;
  #newEpochs: number;

  /** Goes on from `from`, which is not changed. */
  constructor(from: LogFindings = noFindings()) {
    this.#edge = from.edge.clone();
    this.#chains = new Map(from.chains);
    this.#events = from.events;
    this.#newEpochs = from.newEpochs;
  }

  get size(): number {
    return this.#edge.size;
  }

  root(): Buffer {
    return this.#edge.root();
  }

  findings(): LogFindings {
    return {
      size: this.#edge.size,
      events: this.#events,
      chains: new Map(this.#chains),
      newEpochs: this.#newEpochs,
      edge: this.#edge.clone(),
    };
  }

  /** The next entry, which may be anybody's; returns what the tiles must gain by it. Throws `proof-refused`. */
  add(entry: Buffer): readonly AddedHash[] {
    const record = this.#read(entry);
    this.#follow(record);
    this.#events += record.batch.count;
    return this.#edge.append(leafHash(entry));
  }

  #read(entry: Buffer): ReadLogRecord {
    try {
      const record = parseLogRecord(entry);
      if (!verifySignature(record, this.#keyOf(record)))
        throw this.#refused('it is not signed by the key that it names');
      return record;
    } catch (error) {
      if (error instanceof AppError && !error.message.startsWith('Entry ')) throw this.#refused(error.message);
      throw error;
    }
  }

  #keyOf({ batchKey }: ReadLogRecord): KeyObject {
    const name = batchKey.toString('hex');
    const known = this.#keys.get(name);
    if (known !== undefined) return known;
    if (this.#keys.size >= MAX_KEYS) this.#keys.clear();
    const key = batchKeyObject(batchKey);
    this.#keys.set(name, key);
    return key;
  }

  #follow(record: ReadLogRecord): void {
    const { instanceId, epoch, firstSeq, prevHash } = record.batch;
    const before = this.#chains.get(instanceId);
    const isNew = before === undefined || epoch > before.epoch;
    const follows = isNew
      ? firstSeq === 1 && prevHash.length === 0
      : epoch === before.epoch && firstSeq === before.lastSeq + 1 && prevHash.toString('hex') === before.lastHash;
    if (!follows) {
      const expected = before === undefined ? 'event 1' : `epoch ${before.epoch}, event ${before.lastSeq + 1}`;
      throw this.#refused(
        `the batch of sidecar ${instanceId} (epoch ${epoch}, event ${firstSeq}) does not follow what is there of it, which asks for ${expected}: something was left out, changed or put in`,
      );
    }
    if (before !== undefined && isNew) this.#newEpochs += 1;
    this.#chains.set(instanceId, {
      epoch,
      lastSeq: lastSeqOf(record.batch),
      lastHash: recordedHash(record).toString('hex'),
    });
  }

  #refused(why: string): AppError {
    return new AppError('proof-refused', `Entry ${this.#edge.size} of the log is refused: ${why}.`);
  }
}
