import type { Clock } from '../../base/clock.ts';
import { makePrivateDirectory } from '../../base/durable.ts';
import { AppError, toAppError } from '../../base/errors.ts';
import type { Files } from '../../base/journal/files.ts';
import { localFiles } from '../../base/journal/files.ts';
import { Journal } from '../../base/journal/journal.ts';
import { lockDirectory } from '../../base/journal/lock.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { BatchHeader } from '../../core/audit/batch-header.ts';
import { parseBatchHeader } from '../../core/audit/batch-header.ts';
import type { Batch, ShipCaller, ShipHello, ShipNack, ShipWelcome } from '../../core/audit/ship.ts';
import { isBatchKeyBound } from './admit.ts';
import { extend } from './chain.ts';
import type { BatchMeta, KeyMeta } from './record.ts';
import { decodeRecord, encodeRecord } from './record.ts';
import { refuseDamage, replay } from './recovery.ts';
import type { LedgerSession, SessionHost } from './session.ts';
import { nackOf, Session } from './session.ts';
import { Sidecars } from './sidecars.ts';
import { readSnapshot, writeSnapshot } from './snapshot.ts';

export type { LedgerSession } from './session.ts';

export interface LedgerOptions {
  /** Of this ledger alone; it is created (0700) if need be. */
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: RandomBytes;
  readonly limits?: Partial<LedgerLimits>;
  /** Default: the files of `directory`. For tests, to make steps fail. */
  readonly files?: Files;
}

export interface LedgerLimits {
  /** Batches that a sidecar may send without an answer. Default 8. */
  readonly creditBatches: number;
  /** A segment file is closed when it would grow beyond, in bytes. Default 64 MiB. */
  readonly segmentBytes: number;
  /** A silent stream is taken for dead after that long, in milliseconds: then another process may take over. Default 30,000. */
  readonly silenceMs: number;
  /** Contradicting batches that are kept per sidecar until the next start; more are only logged. Default 16. */
  readonly evidencePerSidecar: number;
}

const DEFAULT_LIMITS: LedgerLimits = {
  creditBatches: 8,
  segmentBytes: 64 * 1024 * 1024,
  silenceMs: 30_000,
  evidencePerSidecar: 16,
};
/** Beyond this the clocks of sidecar and ledger disagree so much that the log should say so. */
const MAX_SKEW_MS = 60_000;

/** A batch as the ledger holds it. */
export interface LoggedBatch {
  /** Position in the ledger, from 0. */
  readonly leaf: number;
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly receivedAt: number;
  /** Number of the record that holds the key which signed it: for `keyOf`. */
  readonly keyRecord: number;
  readonly header: BatchHeader;
  /** Exactly as it came. */
  readonly batch: Batch;
}

/**
 * The record of calls: every batch of every sidecar, exactly once, in one append-only log. What it knows of a sidecar (where
 * its next batch must start, and on which it must build) follows from the log, so it is stored in the same write as the
 * batch. A batch is acknowledged only when it is durable. It never deletes anything.
 */
export class Ledger {
  readonly #options: LedgerOptions & { readonly files: Files };
  readonly #limits: LedgerLimits;
  readonly #journal: Journal;
  readonly #sidecars: Sidecars;
  readonly #size: WatchSource<number>;
  readonly #live = new Map<string, Session>();
  readonly #unlock: () => void;
  readonly #host: SessionHost;
  #snapshotting: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  private constructor(
    options: LedgerOptions & { readonly files: Files },
    journal: Journal,
    sidecars: Sidecars,
    unlock: () => void,
  ) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#journal = journal;
    this.#sidecars = sidecars;
    this.#unlock = unlock;
    this.#size = new WatchSource(sidecars.leaves);
    this.#host = {
      now: () => options.clock.now(),
      store: (session, batch, header, hash) => this.#store(session, batch, header, hash),
      keepEvidence: (session, batch, hash) => this.#keepEvidence(session, batch, hash),
      epochChanged: (session, header) => this.#noteEpoch(session, header),
      closed: (session) => {
        if (this.#live.get(session.caller.instanceId) === session) this.#live.delete(session.caller.instanceId);
      },
    };
  }

  /**
   * Recovers what is there: a torn record at the end is cut off. Throws `incompatible-data`, naming file and offset, for
   * damage anywhere else, `conflict` when another process has the ledger, `unavailable` when the disk does not let us.
   */
  static async open(options: LedgerOptions): Promise<Ledger> {
    const { directory, clock, logger } = options;
    await makePrivateDirectory(directory);
    const unlock = lockDirectory(directory);
    try {
      const files = options.files ?? localFiles(directory);
      const snapshot = await readSnapshot(files, logger);
      const sidecars = new Sidecars();
      if (snapshot !== undefined) sidecars.restore(snapshot);
      // The callbacks come during appends only, and there are none before the ledger is there.
      let ledger: Ledger | undefined;
      const journal = await Journal.open({
        files,
        kind: 'ledger',
        clock,
        logger,
        random: options.random ?? secureRandom,
        segmentBytes: options.limits?.segmentBytes ?? DEFAULT_LIMITS.segmentBytes,
        scanFrom: sidecars.record + 1,
        onFailure: () => ledger?.takeBack(),
        onSegment: () => ledger?.snapshotSoon(),
        onRemoved: () => logger.error('a file of the ledger was removed while it was written; it was written again'),
      });
      refuseDamage(journal, directory, sidecars.record);
      await replay(journal, sidecars);
      ledger = new Ledger({ ...options, files }, journal, sidecars, unlock);
      return ledger;
    } catch (error) {
      unlock();
      throw toAppError(error);
    }
  }

  /** Durable batches. */
  get size(): Watch<number> {
    return this.#size;
  }

  /**
   * Begins a stream of a sidecar. A newer stream of the same process takes over from the older one; another process with the
   * same identity is refused while the first is alive.
   */
  connect(
    caller: ShipCaller,
    hello: ShipHello,
  ): { readonly session: LedgerSession; readonly welcome: ShipWelcome } | { readonly nack: ShipNack } {
    const { clock, logger } = this.#options;
    const sidecar = this.#sidecars.of(caller.instanceId);
    const about = { sidecar: caller.instanceId, spiffeId: caller.spiffeId };
    if (!isBatchKeyBound(caller, hello)) {
      logger.warn(about, 'a sidecar was refused: its batch key is not bound to its certificate');
      return { nack: nackOf(sidecar, 'bad-signature', 'The batch key is not signed by the key of your certificate.') };
    }
    const other = this.#live.get(caller.instanceId);
    if (other !== undefined && other.hello.bootId !== hello.bootId && this.#isAlive(other)) {
      logger.error({ ...about, bootId: hello.bootId, other: other.hello.bootId }, 'two processes with one identity');
      return {
        nack: nackOf(sidecar, 'clone', 'Another process with your identity is shipping. Enroll one of the two anew.'),
      };
    }
    other?.end('fenced', 'A newer stream of the same sidecar has taken over.');
    const skewMs = hello.time - clock.now();
    if (Math.abs(skewMs) > MAX_SKEW_MS) logger.warn({ ...about, skewMs }, "a sidecar's clock is off");

    const session = new Session(this.#host, { caller, hello, sidecar, streamId: this.#sidecars.nextStreamId() });
    this.#live.set(caller.instanceId, session);
    const { chain } = sidecar.accepted;
    const welcome: ShipWelcome = {
      streamId: session.streamId,
      expectedEpoch: chain.epoch === 0 ? hello.epoch : chain.epoch,
      expectedSeq: chain.lastSeq + 1,
      expectedPrevHash: chain.lastHash,
      creditBatches: this.#limits.creditBatches,
    };
    return { session, welcome };
  }

  /** How far a sidecar's clock was ahead of ours when it connected; null for one that ships nothing to this replica now. */
  clockSkewMs(instanceId: string): number | null {
    return this.#live.get(instanceId)?.clockSkewMs ?? null;
  }

  /** Newest epoch of a sidecar of which a batch is durable; null before the first. */
  epochOf(instanceId: string): number | null {
    return this.#sidecars.epochOf(instanceId);
  }

  /**
   * The durable batches from leaf `from` on, in order, up to the last one that is durable when the reader gets there; then
   * it ends, and `size` tells when there is more. Throws `incompatible-data`, naming file and offset, for damage.
   */
  async *read(from: number): AsyncGenerator<LoggedBatch, void, undefined> {
    const reader = this.#journal.reader(this.#sidecars.recordOf(from));
    try {
      for (;;) {
        const frame = await reader.read();
        if (frame === undefined) return;
        const record = decodeRecord(frame.payload);
        if (record.kind !== 'batch') continue;
        const { leaf, instanceId, spiffeId, receivedAt, key: keyRecord } = record.meta;
        const header = parseBatchHeader(record.batch.header);
        yield { leaf, instanceId, spiffeId, receivedAt, keyRecord, header, batch: record.batch };
      }
    } finally {
      await reader.close();
    }
  }

  /** The batch key that signed the batches which name this record. Throws `incompatible-data` when it is not there. */
  async keyOf(keyRecord: number): Promise<KeyMeta> {
    const reader = this.#journal.reader(keyRecord);
    try {
      const frame = await reader.read();
      const record = frame === undefined ? undefined : decodeRecord(frame.payload);
      if (record?.kind === 'key') return record.meta;
      throw new AppError('incompatible-data', `${this.#options.directory}: record ${keyRecord} is not a batch key.`);
    } finally {
      await reader.close();
    }
  }

  /** Waits for what is being stored, and gives the directory free. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const session of this.#live.values()) session.end('retry-later', 'The control plane is stopping.');
    try {
      await this.#journal.close();
      this.snapshotSoon();
      await this.#snapshotting;
    } finally {
      this.#unlock();
    }
  }

  /** The disk has failed: what was accepted and is not durable does not count, and everybody starts over. */
  private takeBack(): void {
    this.#sidecars.takeBack();
    for (const session of this.#live.values()) session.end('retry-later', 'The ledger cannot store batches now.');
  }

  private snapshotSoon(): void {
    const snapshot = this.#sidecars.snapshot();
    this.#snapshotting = this.#snapshotting
      .then(() => writeSnapshot(this.#options.files, snapshot))
      .catch((error: unknown) => {
        this.#options.logger.warn({ err: error }, 'the snapshot of the ledger cannot be written');
      });
  }

  #store(session: Session, batch: Batch, header: BatchHeader, hash: Buffer): Promise<void> {
    const { sidecar, caller, hello, streamId } = session;
    const key = this.#keyOf(session);
    const chain = extend(sidecar.accepted.chain, header, hash, hello.bootId, streamId);
    const meta: BatchMeta = {
      leaf: this.#sidecars.nextLeaf(),
      instanceId: caller.instanceId,
      spiffeId: caller.spiffeId,
      key,
      bootId: hello.bootId,
      streamId,
      receivedAt: this.#options.clock.now(),
    };
    sidecar.accepted = { ...sidecar.accepted, chain };
    const stored = this.#journal.append(encodeRecord({ kind: 'batch', meta, batch })).then((record) => {
      this.#sidecars.applyBatch(record, meta, header, hash);
      session.stored(meta.leaf, header);
      this.#size.set(this.#sidecars.leaves);
    });
    sidecar.settled = stored;
    return stored;
  }

  /** Record number of the key that signs the session's batches; the key is stored before its first batch. */
  #keyOf(session: Session): number {
    const { sidecar, caller, hello } = session;
    const known = sidecar.accepted.key;
    if (known?.batchKey.equals(hello.batchKey)) return known.record;
    const record = this.#journal.next;
    const meta: KeyMeta = {
      instanceId: caller.instanceId,
      spiffeId: caller.spiffeId,
      batchKey: hello.batchKey.toString('hex'),
      signature: hello.batchKeySignature.toString('base64'),
      certificate: caller.certificate.toString('base64'),
      receivedAt: this.#options.clock.now(),
    };
    sidecar.accepted = { ...sidecar.accepted, key: { batchKey: hello.batchKey, record } };
    this.#journal.append(encodeRecord({ kind: 'key', meta })).then(
      (number) => this.#sidecars.applyKey(number, meta),
      // The batch behind it fails with it, and is refused.
      () => undefined,
    );
    return record;
  }

  #keepEvidence(session: Session, batch: Batch, hash: Buffer): void {
    const { sidecar, caller, hello, streamId } = session;
    const about = { sidecar: caller.instanceId, spiffeId: caller.spiffeId, hash: hash.toString('hex') };
    this.#options.logger.error(about, 'a sidecar contradicts what it has shipped before');
    if (sidecar.evidence.has(about.hash) || sidecar.evidence.size >= this.#limits.evidencePerSidecar) return;
    sidecar.evidence.add(about.hash);
    const meta: BatchMeta = {
      leaf: this.#sidecars.leaves,
      instanceId: caller.instanceId,
      spiffeId: caller.spiffeId,
      key: this.#keyOf(session),
      bootId: hello.bootId,
      streamId,
      receivedAt: this.#options.clock.now(),
    };
    this.#journal.append(encodeRecord({ kind: 'evidence', meta, batch })).then(
      (record) => this.#sidecars.applyEvidence(record, caller.instanceId, hash),
      () => sidecar.evidence.delete(about.hash),
    );
  }

  #noteEpoch(session: Session, header: BatchHeader): void {
    const { chain } = session.sidecar.accepted;
    if (chain.epoch === 0) return;
    this.#options.logger.warn(
      { sidecar: session.caller.instanceId, epoch: header.epoch, before: chain.epoch, lastSeq: chain.lastSeq },
      'a sidecar begins a new epoch: records of the one before are missing',
    );
  }

  #isAlive(session: Session): boolean {
    const silence = this.#options.clock.now() - session.lastHeardAt;
    return silence >= 0 && silence < this.#limits.silenceMs;
  }
}
