import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '../../../base/errors.ts';
import type { Frame } from '../../../base/journal/frame.ts';
import { FRAME_BYTES, findFrame, readFrame } from '../../../base/journal/frame.ts';
import type { SegmentHead } from '../../../base/journal/segment.ts';
import { MAX_HEAD_BYTES, readHead, segmentIndex } from '../../../base/journal/segment.ts';
import type { DiskReport } from './report.ts';

/** A record as it lies on the disk, whose checksum is right. */
export interface DiskRecord {
  readonly file: string;
  readonly offset: number;
  readonly number: number;
  readonly payload: Buffer;
}

interface Segment {
  readonly file: string;
  readonly size: number;
  readonly head: SegmentHead;
  readonly start: number;
}

/**
 * The records in the segments of a ledger, in order, without changing anything on the disk: what a start would cut off or
 * pass over is reported here. A record that is destroyed is reported, and those behind it are read.
 */
export async function* readSegments(directory: string, report: DiskReport): AsyncGenerator<DiskRecord> {
  const segments = await readSegmentHeads(directory, report);
  let next = segments[0]?.head.first ?? 1;
  if (next !== 1) missing(report, segments[0]?.file ?? directory, 1, next - 1);
  for (const [position, segment] of segments.entries()) {
    const following = segments.slice(position + 1);
    // What a later segment has again does not count here.
    const end = Math.min(...following.map(({ head }) => head.first), Number.POSITIVE_INFINITY);
    if (segment.head.first > next) missing(report, segment.file, next, segment.head.first - 1);
    const bytes = await readFile(segment.file);
    for (const found of recordsIn(bytes, segment, end, report)) {
      next = found.number + 1;
      yield found;
    }
    if (end !== Number.POSITIVE_INFINITY && next < end && following[0]?.head.first === end) {
      missing(report, segment.file, next, end - 1);
      next = end;
    }
  }
}

function* recordsIn(bytes: Buffer, segment: Segment, end: number, report: DiskReport): Generator<DiskRecord> {
  const { file, head } = segment;
  let offset = segment.start;
  let next = head.first;
  while (offset < bytes.length && next < end) {
    let frame: Frame | undefined = readFrame(bytes, offset, head.salt);
    if (frame?.number !== next) {
      const found = findFrame(bytes, {
        offset: offset + 1,
        lowest: next,
        highest: next + Math.ceil((bytes.length - offset) / FRAME_BYTES),
        salt: head.salt,
      });
      report.problem({
        file,
        offset,
        record: next,
        what:
          found === undefined
            ? `the ${bytes.length - offset} bytes from here on are no record: they were changed, or a crash tore what was being written`
            : 'the record is destroyed: its checksum does not agree',
      });
      if (found === undefined) return;
      offset = found.offset;
      frame = found.frame;
    }
    yield { file, offset, number: frame.number, payload: frame.payload };
    next = frame.number + 1;
    offset = frame.end;
  }
  if (offset < bytes.length)
    report.remark(`${file}: nobody reads the bytes from offset ${offset} on: a later segment takes their place.`);
}

async function readSegmentHeads(directory: string, report: DiskReport): Promise<readonly Segment[]> {
  const segments: Segment[] = [];
  for (const name of (await readdir(directory)).toSorted()) {
    if (segmentIndex(name) === undefined) continue;
    const file = join(directory, name);
    const bytes = await readFile(file);
    const found = headOf(bytes, file, report);
    if (found !== undefined) {
      segments.push({ file, size: bytes.length, head: found.head, start: found.end });
      const half = found.end / 2;
      if (!bytes.subarray(0, half).equals(bytes.subarray(half, found.end)))
        report.problem({
          file,
          offset: 0,
          what: 'the two copies of its head are not the same: one of them was changed',
        });
    } else if (bytes.length <= MAX_HEAD_BYTES) {
      report.remark(`${file} holds nothing that can be read: a crash while it was created leaves such a file.`);
    } else report.problem({ file, offset: 0, what: 'its head is destroyed' });
  }
  return segments;
}

function headOf(bytes: Buffer, file: string, report: DiskReport) {
  try {
    return readHead(bytes.subarray(0, MAX_HEAD_BYTES), 'ledger', file);
  } catch (error) {
    if (!(error instanceof AppError) && !(error instanceof SyntaxError)) throw error;
    report.problem({ file, offset: 0, what: `its head is refused: ${error.message}` });
    return undefined;
  }
}

function missing(report: DiskReport, file: string, first: number, last: number): void {
  report.problem({ file, record: first, what: `the records ${first} to ${last} are missing` });
}
