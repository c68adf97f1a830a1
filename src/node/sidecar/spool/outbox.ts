import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { Journal } from '../../../base/journal/journal.ts';
import type { Logger } from '../../../base/log.ts';
import { cutHeader, EVENT_PREFIX_BYTES } from '../../../core/audit/batch.ts';
import { batchHash, encodeBatchHeader, isInstanceId, lastSeqOf } from '../../../core/audit/batch-header.ts';
import { encodeEvent } from '../../../core/audit/canonical.ts';
import type { GapEvent } from '../../../core/audit/event.ts';
import type { ShipWelcome } from '../../../core/audit/ship.ts';
import { MAX_BATCH_BYTES, MAX_BATCH_EVENTS } from '../../../core/audit/ship.ts';
import type { EpochStart, Place } from './epochs.ts';
import { begin, coverHoles, epochOf, pruneStarts, rebase, seqOf } from './epochs.ts';
import { KeptState } from './kept-state.ts';
import type { Cut } from './recovered.ts';
import { ackedPlace, firstState, recoverCuts } from './recovered.ts';
import type { SpoolState, StateFile, StoredCut } from './state-file.ts';
import { CUT_SLOTS } from './state-file.ts';

/** Batches that may be unacknowledged at a time. */
export const MAX_UNACKED_CUTS = 8;

export interface OutboxOptions {
  readonly journal: Journal;
  readonly stateFile: StateFile;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What the state file holds; `undefined` when it was lost, or when the spool is new. */
  readonly state: SpoolState | undefined;
  readonly cuts: readonly StoredCut[];
}

/**
 * The shipping side of the spool: which events are in which batch of which epoch, and what is acknowledged. Batches are cut
 * once, and their headers are durable before they may be sent.
 */
export class Outbox {
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #kept: KeptState;
  #cuts: readonly Cut[];
  /** Grows whenever what was planned to be shipped next may no longer hold. */
  #plan = 0;

  constructor(options: OutboxOptions) {
    this.#journal = options.journal;
    this.#clock = options.clock;
    this.#logger = options.logger;
    const state = options.state ?? firstState(options.journal, options.clock);
    this.#kept = new KeptState(options.stateFile, state);
    this.#cuts = options.state === undefined ? [] : recoverCuts(state, options.cuts);
  }

  /**
   * Covers what recovery has found missing. To be called once, before the first append.
   * @param machineStart tells starts of the machine apart; undefined when it is not known.
   */
  async open(machineStart?: string): Promise<void> {
    const { acked, segment, written } = this.#kept.current;
    // Lost without a trace of how much: whatever number comes next, it is in a new epoch.
    const isTailLost = this.#journal.openEnded || (segment > 0 && this.#journal.segmentIndex < segment);
    const last = Math.max(acked.number, written, this.#head.number, this.#journal.durable.current);
    this.#coverHoles(isTailLost ? last + 1 : last);
    this.#journal.skipTo(isTailLost ? last + 2 : last + 1);
    this.#kept.update({ segment: this.#journal.segmentIndex, written: last });
    this.#coverLostWindow(machineStart);
    await this.flush();
    await this.#journal.dropBefore(acked.number + 1);
  }

  get instanceId(): string | null {
    return this.#kept.current.instanceId;
  }

  get acked(): Place & { readonly hash: Buffer } {
    return ackedPlace(this.#kept.current);
  }

  /** Cut but not acknowledged, in order. */
  get cuts(): readonly Cut[] {
    return this.#cuts;
  }

  /** The current epoch: that of the next event that is recorded. */
  get epoch(): number {
    return (this.#kept.current.starts.at(-1) as EpochStart).epoch;
  }

  /** Durable records that are not acknowledged. */
  get pendingRecords(): number {
    return Math.max(0, this.#journal.durable.current - this.#kept.current.acked.number);
  }

  /** Durable records that are in no batch yet. */
  get uncutRecords(): number {
    return Math.max(0, this.#journal.durable.current - this.#head.number);
  }

  /** Whether there is anything to cut: records, or the gap event of a new epoch. */
  get hasUncut(): boolean {
    return this.uncutRecords > 0 || (this.#startAfterHead()?.gap ?? null) !== null;
  }

  /** The place of the first event that is not acknowledged: what a hello says. */
  get nextToShip(): { readonly epoch: number; readonly seq: number; readonly prevHash: Buffer } {
    const first = this.#cuts[0];
    if (first !== undefined) return { epoch: first.epoch, seq: first.header.firstSeq, prevHash: first.header.prevHash };
    return this.#nextPlace();
  }

  /** Sequence number of a record in its epoch. */
  seqOf(number: number): number {
    return seqOf(epochOf(this.#kept.current.starts, number), number);
  }

  /** Remembers the newest segment, so that its loss shows. */
  segmentStarted(index: number): void {
    this.#kept.update({ segment: index, written: this.#journal.durable.current });
    this.flush().catch((error: unknown) =>
      this.#logger.warn({ err: error }, 'the state of the spool cannot be written'),
    );
  }

  /** From now on records are promised before they are durable. May be done once this resolves. */
  async openWindow(machineStart: string | undefined): Promise<void> {
    if (this.#kept.current.window === undefined) this.#kept.update({ window: machineStart ?? '' });
    await this.flush();
  }

  /** Cuts are made for this sidecar. When it has become another, what is not acknowledged goes into a new epoch of that one. */
  async bind(instanceId: string): Promise<void> {
    if (this.#kept.current.instanceId === instanceId) return;
    if (!isInstanceId(instanceId)) throw new AppError('invalid', `Not an instance id: ${JSON.stringify(instanceId)}.`);
    if (this.#kept.current.instanceId !== null) {
      this.#logger.warn('the sidecar has a new identity: what is in the spool is recorded by that one, in a new epoch');
      const { acked } = this.#kept.current;
      this.#rebase(this.#highestEpoch() + 1, this.#gap(acked.epoch, acked.seq + 1));
      // What the ledger has acknowledged to the old identity it knows nothing of for the new one.
      this.#kept.update({ acked: { ...acked, epoch: 0, seq: 0, hash: '' } });
    }
    this.#kept.update({ instanceId });
    await this.flush();
  }

  /**
   * Cuts the next batch, as large as it may be, of what is durable. `undefined` when there is nothing, or when
   * `MAX_UNACKED_CUTS` are waiting. It may be sent when this resolves, and must never be sent otherwise.
   */
  async cut(): Promise<Cut | undefined> {
    if (this.#cuts.length >= MAX_UNACKED_CUTS) return undefined;
    const { instanceId } = this.#kept.current;
    if (instanceId === null) throw new AppError('internal', 'The spool is not bound to a sidecar.');
    for (;;) {
      const plan = this.#plan;
      const place = this.#nextPlace();
      const collected = await this.#collect(place);
      if (collected === 'changed') continue;
      const { events, last } = collected;
      if (events.length === 0) return undefined;
      const { epoch, seq: firstSeq, prevHash } = place;
      const header = cutHeader({ instanceId, epoch, firstSeq, prevHash, events });
      const bytes = encodeBatchHeader(header);
      const cut: Cut = Object.freeze({
        header,
        bytes,
        hash: batchHash(bytes),
        cut: this.#lastCut + 1,
        epoch,
        seq: lastSeqOf(header),
        number: last,
      });
      if (cut.cut - this.#kept.durableAckedCut >= CUT_SLOTS) await this.flush();
      await this.#kept.writeCut({ cut: cut.cut, header: bytes.toString('utf8') });
      if (this.#plan !== plan) continue;
      this.#cuts = [...this.#cuts, cut];
      return cut;
    }
  }

  /** The events of a cut batch. `undefined` when some of them can no longer be read: the batch is then given up. */
  async load(cut: Cut): Promise<readonly Buffer[] | undefined> {
    const start = this.#kept.current.starts.find((s) => s.epoch === cut.epoch);
    const events: Buffer[] = [];
    if (start?.gap && cut.header.firstSeq === 1) events.push(encodeEvent(start.gap));
    const first = cut.number - (cut.header.count - events.length) + 1;
    const reader = this.#journal.reader(first);
    try {
      while (reader.next <= cut.number) {
        const frame = await reader.read();
        if (frame === undefined) break;
        events.push(frame.payload);
      }
      return events;
    } catch (error) {
      await this.#lose(error, reader.next);
      return undefined;
    } finally {
      await reader.close();
    }
  }

  /**
   * The ledger has made durable everything up to the end of a cut batch. Returns whether that is a batch of ours; what was
   * acknowledged already is.
   */
  acknowledge(epoch: number, seq: number, hash: Buffer): boolean {
    const index = this.#cuts.findIndex((cut) => cut.epoch === epoch && cut.seq === seq && cut.hash.equals(hash));
    const cut = this.#cuts[index];
    if (cut === undefined) return this.#isAcked(epoch, seq);
    this.#cuts = this.#cuts.slice(index + 1);
    const acked = { epoch, seq, number: cut.number, cut: cut.cut, hash: hash.toString('hex') };
    this.#kept.update({
      acked,
      starts: pruneStarts(this.#kept.current.starts, acked),
      written: this.#journal.durable.current,
    });
    this.#freeSoon();
    return true;
  }

  /** The ledger is ahead of us or has something else: what is not acknowledged goes into a new epoch behind its own. */
  async startEpochAfter(ledger: { readonly epoch: number; readonly nextSeq: number }): Promise<void> {
    this.#rebase(Math.max(ledger.epoch, this.#highestEpoch()) + 1, this.#gap(ledger.epoch, ledger.nextSeq));
    await this.flush();
  }

  /**
   * The ledger does not have what it has acknowledged, and we go on with it: behind what it has, in a new epoch, which begins
   * with the admission of what it has lost. What we still hold is shipped; what was freed is gone.
   */
  async followRolledBack(
    ledger: Pick<ShipWelcome, 'expectedEpoch' | 'expectedSeq' | 'expectedPrevHash'>,
  ): Promise<void> {
    const { acked } = this.#kept.current;
    const { expectedEpoch: epoch, expectedPrevHash: hash } = ledger;
    const seq = ledger.expectedSeq - 1;
    const isNothing = seq === 0 && hash.length === 0;
    // With another history up to the same place, nobody knows from where on.
    const isOther = epoch === acked.epoch && seq === acked.seq;
    const gap = this.#gap(isNothing ? 1 : epoch, isOther ? 0 : ledger.expectedSeq, 'ledger-rolled-back');
    this.#rebase(Math.max(epoch, this.#highestEpoch()) + 1, gap);
    const place = isNothing ? { epoch: 0, seq: 0, hash: '' } : { epoch, seq, hash: hash.toString('hex') };
    this.#kept.update({ acked: { ...acked, ...place } });
    await this.flush();
  }

  /** From the record `from` on a new epoch, although nothing is known to be missing: somebody has meddled with the spool. */
  startEpochAt(from: number, reason: GapEvent['reason'] = 'spool-lost'): void {
    const owner = epochOf(this.#kept.current.starts, from);
    const gap = this.#gap(owner.epoch, seqOf(owner, from), reason);
    this.#kept.update({ starts: begin(this.#kept.current.starts, from, gap) });
    this.#coverHoles(from - 1);
    this.flush().catch((error: unknown) =>
      this.#logger.warn({ err: error }, 'the state of the spool cannot be written'),
    );
  }

  /** Makes the state durable. */
  flush(): Promise<void> {
    return this.#kept.flush();
  }

  async close(): Promise<void> {
    const { durable, next } = this.#journal;
    this.#kept.update({ written: Math.max(this.#kept.current.written, durable.current) });
    if (durable.current === next - 1) this.#kept.update({ window: undefined });
    await this.flush();
    await this.#kept.close();
  }

  get #head(): Place & { readonly hash: Buffer } {
    const last = this.#cuts.at(-1);
    return last ?? this.acked;
  }

  /** The epoch that begins right behind the head: nothing of the head's own epoch is left. */
  #startAfterHead(): EpochStart | undefined {
    const head = this.#head;
    const { starts } = this.#kept.current;
    const next = starts.find((start) => start.epoch > head.epoch);
    if (next === undefined) return undefined;
    const own = starts.find((start) => start.epoch === head.epoch);
    const isReadable = this.#journal.runs.some((run) => run.first <= head.number + 1 && head.number + 1 <= run.last);
    return own !== undefined && head.number + 1 < next.from && isReadable ? undefined : next;
  }

  #nextPlace(): Place & { readonly prevHash: Buffer } {
    const start = this.#startAfterHead();
    if (start !== undefined) return { epoch: start.epoch, seq: 1, number: start.from - 1, prevHash: Buffer.alloc(0) };
    const head = this.#head;
    return { epoch: head.epoch, seq: head.seq + 1, number: head.number, prevHash: head.hash };
  }

  /** The events from a place on, for one batch; 'changed' when that showed that records are missing. */
  async #collect(place: Place): Promise<{ readonly events: Buffer[]; readonly last: number } | 'changed'> {
    const { starts } = this.#kept.current;
    const start = starts.find((s) => s.epoch === place.epoch);
    const end = Math.min(
      ...starts.filter((s) => s.epoch > place.epoch).map((s) => s.from - 1),
      Number.MAX_SAFE_INTEGER,
    );
    const events: Buffer[] = start?.gap && place.seq === 1 ? [encodeEvent(start.gap)] : [];
    let bytes = 0;
    let last = place.number;
    const reader = this.#journal.reader(place.number + 1);
    try {
      while (events.length < MAX_BATCH_EVENTS && reader.next <= end && this.#isReadable(reader.next, end)) {
        const frame = await reader.read();
        if (frame === undefined) break;
        bytes += EVENT_PREFIX_BYTES + frame.payload.length;
        // The gap event is small: half a kilobyte is more than it needs.
        if (bytes > MAX_BATCH_BYTES - 512) break;
        events.push(frame.payload);
        last = frame.number;
      }
      return { events, last };
    } catch (error) {
      await this.#lose(error, reader.next);
      return 'changed';
    } finally {
      await reader.close();
    }
  }

  /** Not in the hole between the end of one epoch and the start of the next. */
  #isReadable(number: number, end: number): boolean {
    if (end === Number.MAX_SAFE_INTEGER) return true;
    return this.#journal.runs.some((run) => run.first <= number && number <= run.last);
  }

  /** Reading has failed at a record: what cannot be read is missing from now on. Throws on if that does not explain it. */
  async #lose(error: unknown, number: number): Promise<void> {
    if (!(error instanceof AppError) || error.code !== 'incompatible-data') throw error;
    this.#logger.error({ err: error }, 'the spool is damaged; the loss is recorded as a gap');
    await this.#journal.forgetDamaged(number);
    const before = this.#kept.current.starts;
    this.#coverHoles(this.#journal.durable.current);
    if (this.#kept.current.starts === before) throw error;
    await this.flush();
  }

  #coverHoles(written: number): void {
    const { starts, acked } = this.#kept.current;
    const covered = coverHoles({
      starts,
      acked,
      cuts: this.#cuts,
      readable: this.#journal.runs,
      written,
      reason: this.#journal.damage.length > 0 ? 'spool-corrupt' : 'spool-lost',
      now: this.#clock.now(),
    });
    if (covered.cuts < this.#cuts.length) this.#dropCuts(covered.cuts);
    if (covered.starts !== starts) {
      this.#logger.error(
        { from: covered.starts.length },
        'records are missing from the spool; the loss is recorded as a gap',
      );
      this.#plan += 1;
      this.#kept.update({ starts: covered.starts });
    }
  }

  #rebase(epoch: number, gap: GapEvent): void {
    this.#dropCuts(0);
    this.#plan += 1;
    const { starts, acked } = this.#kept.current;
    this.#kept.update({ starts: rebase(starts, acked, epoch, gap) });
  }

  /** Gives up all cut batches but the first `keep`. What is then planned instead keeps them from being recovered. */
  #dropCuts(keep: number): void {
    this.#cuts = this.#cuts.slice(0, keep);
  }

  /** Count of the last batch that was cut. */
  get #lastCut(): number {
    return (this.#cuts.at(-1) ?? this.#kept.current.acked).cut;
  }

  #gap(epoch: number, fromSeq: number, reason: GapEvent['reason'] = 'spool-lost'): GapEvent {
    return Object.freeze({ kind: 'gap', time: this.#clock.now(), reason, epoch, fromSeq });
  }

  /**
   * The machine went down in the middle of records that were promised and perhaps not durable. How many there were nobody
   * knows; the end of the process alone would have lost none.
   */
  #coverLostWindow(machineStart: string | undefined): void {
    const { window, starts } = this.#kept.current;
    if (window === undefined || (window !== '' && window === machineStart)) return;
    this.#kept.update({ window: undefined });
    // What begins an epoch here anyway covers it.
    if (starts.some(({ from, gap }) => from >= this.#journal.next && gap !== null)) return;
    this.#logger.error('the machine went down while calls were being recorded; the loss is recorded as a gap');
    this.startEpochAt(this.#journal.next, 'power-lost');
  }

  #highestEpoch(): number {
    return Math.max(this.#head.epoch, ...this.#kept.current.starts.map((start) => start.epoch));
  }

  #isAcked(epoch: number, seq: number): boolean {
    const { acked } = this.#kept.current;
    return epoch < acked.epoch || (epoch === acked.epoch && seq <= acked.seq);
  }

  /** Deletes what is acknowledged, once that is durable. */
  #freeSoon(): void {
    this.flush()
      .then(() => this.#journal.dropBefore(this.#kept.current.acked.number + 1))
      .catch((error: unknown) => this.#logger.warn({ err: error }, 'the spool cannot be freed'));
  }
}
