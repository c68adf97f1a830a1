import { AppError } from '../errors.ts';
import type { Frame } from './frame.ts';
import { encodeFrames, FRAME_BYTES, findFrame, readFrame } from './frame.ts';

/**
 * A segment file: its head twice (so that one decayed sector does not cost the whole segment), then frames with consecutive
 * numbers. Segments are ordered by the index in their name, and a later segment supersedes: records of earlier ones from
 * its first number on do not count.
 */
export interface SegmentHead {
  readonly version: 1;
  /** What the journal holds, for example `spool`. */
  readonly kind: string;
  /** Number of the first record that belongs here. */
  readonly first: number;
  /** Seeds the checksums of the frames. */
  readonly salt: number;
}

/** A stretch of intact records with consecutive numbers in one segment. */
export interface Run {
  readonly index: number;
  readonly name: string;
  readonly salt: number;
  readonly first: number;
  last: number;
  readonly start: number;
  end: number;
  /** Where some of the records are, ascending, so that a reader need not start at `start`. */
  readonly marks: { readonly number: number; readonly offset: number }[];
}

export interface Scan {
  readonly runs: Run[];
  /** Where records that had been durable are destroyed, with the number of the first of them. */
  readonly damage: readonly { readonly offset: number; readonly number: number }[];
  /** Offset behind the last intact record. */
  readonly end: number;
}

const MARK_EVERY_BYTES = 256 * 1024;
const SUFFIX = '.wal';

export function segmentName(index: number): string {
  return `${String(index).padStart(10, '0')}${SUFFIX}`;
}

/** The index in a segment's name, or `undefined` for the name of another file. */
export function segmentIndex(name: string): number | undefined {
  return /^\d{10}\.wal$/.test(name) ? Number(name.slice(0, -SUFFIX.length)) : undefined;
}

export function encodeHead(head: SegmentHead): Buffer {
  const frame = encodeFrames([Buffer.from(JSON.stringify(head), 'utf8')], { first: 0, durable: 0, salt: 0 });
  return Buffer.concat([frame, frame]);
}

/** Enough bytes to hold any head. */
export const MAX_HEAD_BYTES = 512;

/**
 * The head at the start of `bytes` and where the frames begin; `undefined` when there is none that is intact. Throws
 * `incompatible-data` for a head of another version or kind; `path` is for that message.
 */
export function readHead(bytes: Buffer, kind: string, path: string): { head: SegmentHead; end: number } | undefined {
  const first = readFrame(bytes, 0, 0);
  const frame = first ?? findFrame(bytes, { offset: 0, lowest: 0, highest: 0, salt: 0 })?.frame;
  if (frame === undefined || frame.number !== 0) return undefined;
  const head = JSON.parse(frame.payload.toString('utf8')) as Partial<SegmentHead>;
  if (head.version !== 1 || head.kind !== kind || typeof head.first !== 'number' || typeof head.salt !== 'number') {
    throw new AppError(
      'incompatible-data',
      `${path} is not a ${kind} segment that this version of Writ knows: another version wrote it. Run that version.`,
    );
  }
  return { head: head as SegmentHead, end: 2 * (FRAME_BYTES + frame.payload.length) };
}

/**
 * Finds the intact records of a segment whose head is known. Behind a destroyed record the scan goes on if a later record
 * proves that the destroyed one had been durable; if none does, a crash has torn what was never acknowledged, and the scan
 * ends there.
 */
export function scanSegment(bytes: Buffer, index: number, name: string, head: SegmentHead, headEnd: number): Scan {
  const { salt } = head;
  const runs: Run[] = [];
  const damage: { offset: number; number: number }[] = [];
  let offset = headEnd;
  let next = head.first;
  let run: Run | undefined;
  for (;;) {
    let frame: Frame | undefined = readFrame(bytes, offset, salt);
    if (frame?.number !== next) {
      const search = { offset, lowest: next, highest: next + Math.ceil((bytes.length - offset) / FRAME_BYTES), salt };
      const isProven = findFrame(bytes, { ...search, durable: next }) !== undefined;
      const found = isProven ? findFrame(bytes, search) : undefined;
      if (found === undefined) return { runs, damage, end: offset };
      damage.push({ offset, number: next });
      offset = found.offset;
      frame = found.frame;
      run = undefined;
    }
    if (run === undefined) {
      run = newRun(index, name, salt, frame.number, offset);
      runs.push(run);
    }
    extendRun(run, offset, frame.number, frame.end);
    next = frame.number + 1;
    offset = frame.end;
  }
}

export function newRun(index: number, name: string, salt: number, first: number, start: number): Run {
  return { index, name, salt, first, last: first - 1, start, end: start, marks: [] };
}

/** Adds the records from `run.last + 1` to `last`, which lie from `offset` to `end`. */
export function extendRun(run: Run, offset: number, last: number, end: number): void {
  const marked = run.marks.at(-1)?.offset ?? run.start;
  if (offset - marked >= MARK_EVERY_BYTES) run.marks.push({ number: run.last + 1, offset });
  run.last = last;
  run.end = end;
}
