import type { GapEvent } from '../../../core/audit/event.ts';

/**
 * How the spool's records become the numbered events that the ledger knows. The spool numbers its records once and for ever;
 * an epoch is a stretch of them without a hole. Where records are missing, a new epoch begins, and its first event is the
 * signed admission of that: it is kept here and is no record of the spool.
 */
export interface EpochStart {
  readonly epoch: number;
  /** Number of its first record. */
  readonly from: number;
  /** Its first event, before the record `from`. None only where nothing is missing: in the first epoch of a new spool. */
  readonly gap: GapEvent | null;
}

/** A place between two events. */
export interface Place {
  readonly epoch: number;
  /** Sequence of the last event before; 0 at the start of the epoch. */
  readonly seq: number;
  /** Number of the last record before. */
  readonly number: number;
}

/** Records that can be read, with consecutive numbers. */
export interface Stretch {
  readonly first: number;
  readonly last: number;
}

/** The epoch that holds the record. `starts` is never empty and ascends. */
export function epochOf(starts: readonly EpochStart[], number: number): EpochStart {
  return starts.findLast((start) => start.from <= number) ?? (starts[0] as EpochStart);
}

export function seqOf(start: EpochStart, number: number): number {
  return number - start.from + 1 + (start.gap === null ? 0 : 1);
}

export interface Situation {
  readonly starts: readonly EpochStart[];
  /** Everything up to here is acknowledged. */
  readonly acked: Place;
  /** Ends of the batches that are cut but not acknowledged, in order. */
  readonly cuts: readonly Place[];
  /** What can be read, ascending. */
  readonly readable: readonly Stretch[];
  /** Number of the last record that is known to have been written, even if it is gone. */
  readonly written: number;
  readonly reason: GapEvent['reason'];
  readonly now: number;
}

export interface Coverage {
  readonly starts: readonly EpochStart[];
  /** How many of the cut batches still stand; the others contain lost records. */
  readonly cuts: number;
}

/** The state slot has room for that many; the records between the last two are given up, which the last gap then covers. */
const MAX_STARTS = 64;

/**
 * Sees to it that every hole among the records that are owed to the ledger ends one epoch and begins another, with a gap
 * event. A batch that contains lost records cannot be sent any more: what is left of it goes into a new epoch, since the
 * ledger may have received all of it. Epoch numbers that may have been sent are never used for anything else.
 */
export function coverHoles(situation: Situation): Coverage {
  const { acked, cuts } = situation;
  const holes = holesAfter(acked.number, situation.readable, situation.written);
  const broken = cuts.findIndex((cut, i) =>
    holes.some((hole) => hole.first <= cut.number && hole.last > (cuts[i - 1] ?? acked).number),
  );

  let starts = situation.starts;
  if (broken !== -1) {
    const head = cuts[broken - 1] ?? acked;
    const isHole = holes.some((hole) => hole.first === head.number + 1);
    if (!isHole) starts = begin(starts, head.number + 1, gapEvent(situation, head.epoch, head.seq + 1));
  }
  for (const hole of holes) {
    const owner = epochOf(starts, hole.first);
    const fromSeq = seqOf(owner, hole.first);
    const isCovered = starts.some(
      ({ from, gap }) => from === hole.last + 1 && gap?.epoch === owner.epoch && gap.fromSeq <= fromSeq,
    );
    if (!isCovered) starts = begin(starts, hole.last + 1, gapEvent(situation, owner.epoch, fromSeq));
  }
  return { starts: bounded(starts), cuts: broken === -1 ? cuts.length : broken };
}

/** A new epoch from the record `from` on; what comes after it is renumbered, since an epoch number never goes back. */
export function begin(starts: readonly EpochStart[], from: number, gap: GapEvent): readonly EpochStart[] {
  const before = starts.filter((start) => start.from < from);
  const after = starts.filter((start) => start.from > from);
  let epoch = Math.max(...starts.map((start) => start.epoch));
  const renumbered = [{ epoch, from, gap }, ...after].map((start) => Object.freeze({ ...start, epoch: ++epoch }));
  return [...before, ...renumbered];
}

/**
 * Everything that is not acknowledged, in new epochs from `epoch` on: the ledger has something else in the place of what we
 * would have sent.
 */
export function rebase(
  starts: readonly EpochStart[],
  acked: Place,
  epoch: number,
  gap: GapEvent,
): readonly EpochStart[] {
  const from = acked.number + 1;
  const later = starts.filter((start) => start.from > from);
  return [{ epoch, from, gap }, ...later].map((start, i) => Object.freeze({ ...start, epoch: epoch + i }));
}

/** The starts that still matter when everything up to `acked` is acknowledged. */
export function pruneStarts(starts: readonly EpochStart[], acked: Place): readonly EpochStart[] {
  return starts.filter((start, i) => start.epoch >= acked.epoch || i === starts.length - 1);
}

function gapEvent(situation: Situation, epoch: number, fromSeq: number): GapEvent {
  return Object.freeze({ kind: 'gap', time: situation.now, reason: situation.reason, epoch, fromSeq });
}

function bounded(starts: readonly EpochStart[]): readonly EpochStart[] {
  const last = starts.at(-1);
  if (starts.length <= MAX_STARTS || last === undefined) return starts;
  const firstDropped = starts[MAX_STARTS - 1] as EpochStart;
  return [...starts.slice(0, MAX_STARTS - 1), Object.freeze({ ...last, gap: firstDropped.gap })];
}

function holesAfter(number: number, readable: readonly Stretch[], written: number): readonly Stretch[] {
  const holes: Stretch[] = [];
  let expected = number + 1;
  for (const stretch of readable) {
    if (stretch.last < expected) continue;
    if (stretch.first > expected) holes.push({ first: expected, last: stretch.first - 1 });
    expected = stretch.last + 1;
  }
  if (written >= expected) holes.push({ first: expected, last: written });
  return holes;
}
