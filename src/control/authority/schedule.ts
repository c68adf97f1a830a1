import { unreachable } from '../../base/errors.ts';
import { REFRESH_HINT_SECONDS } from '../../core/identity/bundle.ts';
import type { AuthorityKind, AuthorityRecord, AuthoritySet } from './authorities.ts';
import { authorityKinds, inState } from './authorities.ts';
import type { Lifetimes } from './lifetimes.ts';
import { belowMs } from './lifetimes.ts';

/** Something that is to be done with an authority now. */
export type Due =
  | { readonly action: 'prepare'; readonly kind: AuthorityKind }
  | {
      readonly action: 'activate';
      readonly kind: AuthorityKind;
      readonly id: string;
      /** Who cannot verify it and will be cut off, since waiting any longer would cut off everybody. */
      readonly missing: readonly string[];
    }
  | {
      readonly action: 'wait';
      readonly kind: AuthorityKind;
      readonly id: string;
      readonly missing: readonly string[];
    }
  | { readonly action: 'retire' | 'revoke'; readonly kind: AuthorityKind; readonly id: string };

export interface ScheduleOptions {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Who does not have a bundle of this sequence in force. */
  readonly missing: (sequence: number) => readonly string[];
  readonly lifetimes: Lifetimes;
}

/** A successor is made when a sixth of the life is left. */
const PREPARE_FRACTION = 6;
/** How often those who poll the bundle should have seen a key before it signs (SPIFFE_Federation.md §4.1: 3 to 5 times). */
const HINTS_BEFORE_USE = 5;
/** For lives that are shorter than that: half of what is left when the successor is made. */
const USE_FRACTION = 12;

/**
 * What the calendar asks for, given where the authorities stand. Pure: what comes of it is decided again at the moment of each
 * change.
 *
 * Of roots nothing, once the active one has ended by our clock. Either it has for everybody, and no other root could reach who
 * must verify it (`Authority.open` says what to do); or our clock has jumped, and then the root that all hangs from must not be
 * taken away because of it.
 */
export function whatIsDue(set: AuthoritySet, o: ScheduleOptions): readonly Due[] {
  const root = inState(set, 'x509', 'active');
  const isLost = root !== undefined && o.now >= root.notAfter;
  const due = [...authorityKinds.flatMap((kind) => successionOf(kind, set, o)), ...endings(set, o.now)];
  return isLost ? due.filter(({ kind }) => kind !== 'x509') : due;
}

/**
 * After how many milliseconds to look again, 1 s to 1 h: when something of this may become due. Every change of the store makes
 * everybody look anyway.
 */
export function nextLook(set: AuthoritySet, now: number): number {
  const times = set.records.map((record) => nextTime(set, record, now));
  return Math.max(1_000, Math.min(3_600_000, ...times.map((time) => time - now)));
}

function nextTime(set: AuthoritySet, record: AuthorityRecord, now: number): number {
  const { kind, state, since, notBefore, notAfter, belowMs: below } = record;
  switch (state) {
    case 'new':
      return now + 60_000;
    case 'active':
      return inState(set, kind, 'prepared') === undefined ? prepareAt(record) : Number.POSITIVE_INFINITY;
    case 'prepared': {
      const active = inState(set, kind, 'active') ?? { notBefore, notAfter };
      const isWaitedFor = record.soon || now >= since + noticeMs(active.notAfter - active.notBefore);
      // Who is missing is asked, not told.
      return isWaitedFor ? now + (record.soon ? 1_000 : 60_000) : since + noticeMs(active.notAfter - active.notBefore);
    }
    case 'old':
    case 'tainted':
      return Math.min(since + below, kind === 'x509' ? notAfter : Number.POSITIVE_INFINITY);
    case 'retired':
    case 'revoked':
      return now;
    default:
      return unreachable(state);
  }
}

function prepareAt({ notBefore, notAfter }: { readonly notBefore: number; readonly notAfter: number }): number {
  return notAfter - (notAfter - notBefore) / PREPARE_FRACTION;
}

/** How long an authority is shown before it signs. */
export function noticeMs(lifeMs: number): number {
  return Math.min(HINTS_BEFORE_USE * REFRESH_HINT_SECONDS * 1000, lifeMs / USE_FRACTION);
}

function successionOf(kind: AuthorityKind, set: AuthoritySet, o: ScheduleOptions): readonly Due[] {
  const active = inState(set, kind, 'active');
  if (active === undefined) return [];
  const next = inState(set, kind, 'prepared');
  const lifeMs = active.notAfter - active.notBefore;
  if (next === undefined) {
    const isDue = o.now >= prepareAt(active);
    return isDue && !isBeingMade(kind, set, o.now) ? [{ action: 'prepare', kind }] : [];
  }
  // A root of an upstream authority is prepared whenever that has another one: the one before it may be valid for years.
  const isWanted = next.soon || next.keyName === null || o.now >= prepareAt(active);
  if (!isWanted) return [];
  const isKnown = next.soon || o.now >= next.since + noticeMs(lifeMs);
  const missing = o.missing(next.sequence);
  const isLastMoment = o.now >= lastMoment(active, o.lifetimes);
  if ((isKnown && missing.length === 0) || isLastMoment) return [{ action: 'activate', kind, id: next.id, missing }];
  return isKnown ? [{ action: 'wait', kind, id: next.id, missing }] : [];
}

/**
 * When waiting for the last ones cuts off everybody else: what is issued below the active authority would end before its time.
 * Whoever has not got the new bundle by then has been away, or refuses it, for weeks.
 */
function lastMoment(active: AuthorityRecord, lifetimes: Lifetimes): number {
  const lifeMs = active.notAfter - active.notBefore;
  const usualMs = active.kind === 'x509' ? lifetimes.x509Seconds * 1000 : belowMs(active.kind, lifetimes);
  return active.notAfter - Math.min(usualMs, lifeMs / (2 * USE_FRACTION));
}

/** Not every replica has to make a key when one of them is about to. */
function isBeingMade(kind: AuthorityKind, set: AuthoritySet, now: number): boolean {
  return set.records.some(
    (record) => record.kind === kind && record.state === 'new' && now - record.createdAt < 60_000,
  );
}

/** Old ones leave the bundle when the last of what they signed has ended; so do tainted ones that nobody has revoked. */
function endings(set: AuthoritySet, now: number): readonly Due[] {
  return set.records.flatMap((record): readonly Due[] => {
    const { kind, id, state } = record;
    if (state !== 'old' && state !== 'tainted') return [];
    const hasEnded = now >= record.since + record.belowMs || (kind === 'x509' && now >= record.notAfter);
    if (!hasEnded) return [];
    return [{ action: state === 'old' ? 'retire' : 'revoke', kind, id }];
  });
}
