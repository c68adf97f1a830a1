import { join } from 'node:path';
import type { Files, OpenFile } from './files.ts';
import type { Run, SegmentHead } from './segment.ts';
import { MAX_HEAD_BYTES, newRun, readHead, scanSegment, segmentIndex } from './segment.ts';

/** A place where records are missing or destroyed. */
export interface Damage {
  readonly path: string;
  readonly offset: number;
  readonly reason: string;
}

export interface Recovered {
  /** In order of their numbers. Holes between them are listed in `damage`. */
  readonly runs: Run[];
  readonly damage: readonly Damage[];
  /** The damage ends the journal: how many records it has cost cannot be known. */
  readonly openEnded: boolean;
  readonly nextIndex: number;
  /** Bytes of each segment file, by index. */
  readonly sizes: Map<number, number>;
}

interface Segment {
  readonly index: number;
  readonly name: string;
  readonly size: number;
  readonly head: SegmentHead | undefined;
  readonly headEnd: number;
}

/**
 * Reads a journal's directory after any end of the process before. A torn record at the very end is cut off: it was never
 * acknowledged. Segments that hold only records below `scanFrom` are not read: their damage shows when they are.
 */
export async function recover(files: Files, kind: string, scanFrom: number): Promise<Recovered> {
  const segments = await readHeads(files, kind);
  const runs: Run[] = [];
  const damage: Damage[] = [];
  let openEnded = false;
  const note = (segment: Segment, offset: number, reason: string) => {
    damage.push({ path: join(files.directory, segment.name), offset, reason });
  };

  for (const [position, segment] of segments.entries()) {
    const isLast = position === segments.length - 1;
    const { head } = segment;
    if (head === undefined) {
      // Whoever is that short was being created when the process ended: nothing was in it.
      if (segment.size <= MAX_HEAD_BYTES) continue;
      note(segment, 0, 'its head is destroyed');
      openEnded = isLast;
      continue;
    }
    openEnded = false;
    supersede(runs, head.first);
    const lastBefore = runs.at(-1)?.last;
    if (lastBefore !== undefined && head.first > lastBefore + 1) {
      note(segment, 0, `the records ${lastBefore + 1} to ${head.first - 1} before it are missing`);
    }
    const following = segments.slice(position + 1).find((s) => s.head !== undefined);
    const successor = following?.head;
    // Only next to its successor: between others a segment may be missing, and where this one ends then tells.
    const isAdjacent = following?.index === segment.index + 1;
    if (isAdjacent && successor !== undefined && successor.first <= scanFrom && successor.first > head.first) {
      const run = newRun(segment.index, segment.name, head.salt, head.first, segment.headEnd);
      runs.push(Object.assign(run, { last: successor.first - 1, end: segment.size }));
      continue;
    }
    const bytes = await readAll(files, segment.name);
    const scan = scanSegment(bytes, segment.index, segment.name, head, segment.headEnd);
    for (const { offset, number } of scan.damage) {
      // What a later segment has again is not missed.
      if (successor === undefined || number < successor.first)
        note(segment, offset, `the record ${number} is destroyed`);
    }
    runs.push(...scan.runs);
    if (isLast && scan.end < bytes.length) await cut(files, segment.name, scan.end);
  }
  const sizes = new Map(segments.map((segment) => [segment.index, segment.size]));
  return { runs, damage, openEnded, nextIndex: (segments.at(-1)?.index ?? 0) + 1, sizes };
}

/** Looks at one segment again, after reading it has failed: the runs that are left of it. */
export async function rescan(files: Files, kind: string, name: string): Promise<Run[]> {
  const index = segmentIndex(name) ?? 0;
  try {
    const bytes = await readAll(files, name);
    const found = readHead(bytes, kind, join(files.directory, name));
    return found === undefined ? [] : scanSegment(bytes, index, name, found.head, found.end).runs;
  } catch {
    // It is gone or the disk does not give it back: either way nothing of it can be read.
    return [];
  }
}

async function readHeads(files: Files, kind: string): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (const name of (await files.list()).toSorted()) {
    const index = segmentIndex(name);
    if (index === undefined) continue;
    segments.push(
      await withFile(files, name, async (file) => {
        const found = readHead(await file.read(0, MAX_HEAD_BYTES), kind, join(files.directory, name));
        return { index, name, size: await file.size(), head: found?.head, headEnd: found?.end ?? 0 };
      }),
    );
  }
  return segments;
}

/** Forgets the records from `first` on: a later segment has them. */
function supersede(runs: Run[], first: number): void {
  while (runs.length > 0) {
    const run = runs.at(-1);
    if (run === undefined || run.last < first) return;
    if (run.first >= first) {
      runs.pop();
      continue;
    }
    // Its `end` may lie behind the cut; readers stop at `last`.
    run.last = first - 1;
    return;
  }
}

function readAll(files: Files, name: string): Promise<Buffer> {
  return withFile(files, name, async (file) => file.read(0, await file.size()));
}

function cut(files: Files, name: string, length: number): Promise<void> {
  return withFile(files, name, async (file) => {
    await file.truncate(length);
    await file.sync();
  });
}

async function withFile<T>(files: Files, name: string, use: (file: OpenFile) => Promise<T>): Promise<T> {
  const file = await files.open(name);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}
