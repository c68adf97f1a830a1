import type { BatchHeader } from '../../core/audit/batch-header.ts';
import type { Chain } from './chain.ts';
import { emptyChain, extend } from './chain.ts';
import type { BatchMeta, KeyMeta } from './record.ts';
import type { SidecarKey, Snapshot } from './snapshot.ts';

/** What the ledger knows of a sidecar, in two versions: with everything accepted, and with what is durable of it. */
export interface Sidecar {
  readonly instanceId: string;
  accepted: SidecarState;
  durable: SidecarState;
  /** Resolves when what was accepted last is durable; rejects when it was taken back. */
  settled: Promise<unknown>;
  /** Contradicting batches that were kept as evidence, by their hash. */
  readonly evidence: Set<string>;
}

export interface SidecarState {
  readonly chain: Chain;
  readonly key: SidecarKey | undefined;
}

const unknown: SidecarState = Object.freeze({ chain: emptyChain, key: undefined });

/** The sidecars that have ever shipped, as the ledger's records tell. Owned by the ledger. */
export class Sidecars {
  readonly #byId = new Map<string, Sidecar>();
  /** Record numbers of what is no batch, ascending: they translate between record and leaf numbers. */
  #others: number[] = [];
  #leaves = 0;
  #acceptedLeaves = 0;
  #record = 0;
  #streamId = 0;

  restore(snapshot: Snapshot): void {
    this.#others = [...snapshot.others];
    this.#leaves = snapshot.leaves;
    this.#record = snapshot.record;
    this.#streamId = snapshot.streamId;
    for (const [instanceId, state] of snapshot.sidecars) {
      const sidecar = this.of(instanceId);
      sidecar.durable = state;
      sidecar.accepted = state;
    }
  }

  snapshot(): Snapshot {
    const known = [...this.#byId.values()].filter(({ durable }) => durable.key !== undefined);
    return {
      record: this.#record,
      leaves: this.#leaves,
      others: [...this.#others],
      streamId: this.#streamId,
      sidecars: new Map(known.map(({ instanceId, durable }) => [instanceId, durable])),
    };
  }

  /** Durable batches. */
  get leaves(): number {
    return this.#leaves;
  }

  /** Number of the last record that was applied. */
  get record(): number {
    return this.#record;
  }

  /** The leaf number of the batch that is accepted next; it is taken. */
  nextLeaf(): number {
    return this.#acceptedLeaves++;
  }

  nextStreamId(): number {
    this.#streamId += 1;
    return this.#streamId;
  }

  epochOf(instanceId: string): number | null {
    const epoch = this.#byId.get(instanceId)?.durable.chain.epoch ?? 0;
    return epoch === 0 ? null : epoch;
  }

  of(instanceId: string): Sidecar {
    let sidecar = this.#byId.get(instanceId);
    if (sidecar === undefined) {
      sidecar = {
        instanceId,
        accepted: unknown,
        durable: unknown,
        settled: Promise.resolve(),
        evidence: new Set(),
      };
      this.#byId.set(instanceId, sidecar);
    }
    return sidecar;
  }

  /** A batch is durable. Records are applied in their order. */
  applyBatch(record: number, meta: BatchMeta, header: BatchHeader, hash: Buffer): void {
    const sidecar = this.of(meta.instanceId);
    const chain = extend(sidecar.durable.chain, header, hash, meta.bootId, meta.streamId);
    sidecar.durable = { ...sidecar.durable, chain };
    this.#record = record;
    this.#leaves += 1;
    this.#streamId = Math.max(this.#streamId, meta.streamId);
  }

  applyKey(record: number, meta: KeyMeta): void {
    const sidecar = this.of(meta.instanceId);
    sidecar.durable = { ...sidecar.durable, key: { batchKey: Buffer.from(meta.batchKey, 'hex'), record } };
    this.#applyOther(record);
  }

  applyEvidence(record: number, instanceId: string, hash: Buffer): void {
    this.of(instanceId).evidence.add(hash.toString('hex'));
    this.#applyOther(record);
  }

  /** What was accepted but is not durable does not count: it has failed, or recovery has just found what is durable. */
  takeBack(): void {
    this.#acceptedLeaves = this.#leaves;
    for (const sidecar of this.#byId.values()) sidecar.accepted = sidecar.durable;
  }

  /** Record number of a leaf. */
  recordOf(leaf: number): number {
    // The k-th leaf stands behind as many other records as have a number not above it.
    let record = leaf + 1;
    for (const other of this.#others) {
      if (other > record) break;
      record += 1;
    }
    return record;
  }

  #applyOther(record: number): void {
    this.#record = record;
    this.#others.push(record);
  }
}
