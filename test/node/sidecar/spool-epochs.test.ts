import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EpochStart, Place, Stretch } from '../../../src/node/sidecar/spool/epochs.ts';
import { begin, coverHoles, epochOf, pruneStarts, rebase, seqOf } from '../../../src/node/sidecar/spool/epochs.ts';

const gap = (epoch: number, fromSeq: number) =>
  ({ kind: 'gap', time: 5, reason: 'spool-corrupt', epoch, fromSeq }) as const;
const first: EpochStart = { epoch: 1, from: 1, gap: null };
const none: Place = { epoch: 0, seq: 0, number: 0 };
const base = { starts: [first], acked: none, cuts: [], written: 0, reason: 'spool-corrupt' as const, now: 5 };

describe('epochs', () => {
  it('number events from 1, and count the gap event as the first', () => {
    const starts = [first, { epoch: 2, from: 11, gap: gap(1, 8) }];
    expect(seqOf(epochOf(starts, 1), 1)).toBe(1);
    expect(seqOf(epochOf(starts, 10), 10)).toBe(10);
    expect(seqOf(epochOf(starts, 11), 11)).toBe(2);
  });

  it('stay as they are when nothing is missing', () => {
    const starts = [first];
    expect(coverHoles({ ...base, starts, readable: [{ first: 1, last: 9 }], written: 9 }).starts).toBe(starts);
  });

  it('begin behind a hole, and admit it from its first record on', () => {
    const readable = [
      { first: 1, last: 4 },
      { first: 8, last: 9 },
    ];
    expect(coverHoles({ ...base, readable }).starts).toEqual([first, { epoch: 2, from: 8, gap: gap(1, 5) }]);
  });

  it('do not mind what is missing but acknowledged', () => {
    const acked = { epoch: 1, seq: 7, number: 7 };
    expect(coverHoles({ ...base, acked, readable: [{ first: 8, last: 9 }] }).starts).toEqual([first]);
  });

  it('admit what was written and is gone at the end', () => {
    const covered = coverHoles({ ...base, readable: [{ first: 1, last: 4 }], written: 6 });
    expect(covered.starts).toEqual([first, { epoch: 2, from: 7, gap: gap(1, 5) }]);
  });

  it('are given new numbers when one is inserted before them', () => {
    const starts = [first, { epoch: 2, from: 10, gap: gap(1, 8) }];
    expect(begin(starts, 5, gap(1, 3))).toEqual([
      first,
      { epoch: 3, from: 5, gap: gap(1, 3) },
      { epoch: 4, from: 10, gap: gap(1, 8) },
    ]);
  });

  it('end at an acknowledged place when the ledger has something else', () => {
    const starts = [first, { epoch: 2, from: 10, gap: gap(1, 8) }];
    expect(rebase(starts, { epoch: 1, seq: 4, number: 4 }, 7, gap(6, 1))).toEqual([
      { epoch: 7, from: 5, gap: gap(6, 1) },
      { epoch: 8, from: 10, gap: gap(1, 8) },
    ]);
  });

  it('are forgotten when a later one is acknowledged', () => {
    const starts = [first, { epoch: 2, from: 10, gap: gap(1, 8) }];
    expect(pruneStarts(starts, { epoch: 1, seq: 4, number: 4 })).toEqual(starts);
    expect(pruneStarts(starts, { epoch: 2, seq: 1, number: 9 })).toEqual(starts.slice(1));
  });

  it('are never more than the state file has room for', () => {
    const readable = Array.from({ length: 300 }, (_, i): Stretch => ({ first: 2 * i + 1, last: 2 * i + 1 }));
    const { starts } = coverHoles({ ...base, readable });
    expect(starts).toHaveLength(64);
    expect(starts.at(-1)?.from).toBe(599);
  });

  /** Holes come one after the other, batches are cut and acknowledged in between, and what was covered stays covered. */
  it('always cover every hole, grow strictly, and never reuse a number that may have been sent', () => {
    const hole = fc.record({ first: fc.integer({ min: 1, max: 60 }), length: fc.integer({ min: 1, max: 5 }) });
    const round = fc.record({ hole, cutTo: fc.integer({ min: 0, max: 60 }), ackTo: fc.integer({ min: 0, max: 60 }) });
    fc.assert(
      fc.property(fc.array(round, { maxLength: 6 }), (rounds) => {
        const missing = new Set<number>();
        let starts: readonly EpochStart[] = [first];
        let acked: Place = none;
        let cuts: Place[] = [];
        let used = 1;
        for (const { hole: lost, cutTo, ackTo } of rounds) {
          for (let n = lost.first; n < lost.first + lost.length; n++) if (n > acked.number) missing.add(n);
          const readable = stretches(missing, 60);
          const covered = coverHoles({ ...base, starts, acked, cuts, readable, written: 60 });
          cuts = cuts.slice(0, covered.cuts);
          const head = cuts.at(-1) ?? acked;
          expectCovered(covered.starts, acked, missing, 60);
          for (const start of covered.starts) {
            if (!starts.includes(start) && start.from > head.number) expect(start.epoch).toBeGreaterThan(used);
          }
          starts = covered.starts;
          used = Math.max(used, ...starts.map((start) => start.epoch));
          const cut = cutOf(starts, cuts.at(-1) ?? acked, cutTo, missing);
          if (cut !== undefined) cuts.push(cut);
          const ack = cuts.findLastIndex((place) => place.number <= ackTo);
          if (ack !== -1) {
            acked = cuts[ack] ?? acked;
            cuts = cuts.slice(ack + 1);
            starts = pruneStarts(starts, acked);
          }
        }
      }),
    );
  });
});

function stretches(missing: ReadonlySet<number>, last: number): Stretch[] {
  const found: { first: number; last: number }[] = [];
  for (let n = 1; n <= last; n++) {
    if (missing.has(n)) continue;
    const open = found.at(-1);
    if (open?.last === n - 1) open.last = n;
    else found.push({ first: n, last: n });
  }
  return found;
}

/** No epoch spans a hole, and the first record behind a hole is behind a gap event. */
function expectCovered(starts: readonly EpochStart[], acked: Place, missing: ReadonlySet<number>, last: number): void {
  for (const [i, start] of starts.entries()) {
    const before = starts[i - 1];
    if (before !== undefined) {
      expect(start.epoch).toBeGreaterThan(before.epoch);
      expect(start.from).toBeGreaterThan(before.from);
    }
  }
  for (let n = acked.number + 1; n < last; n++) {
    if (!missing.has(n) || missing.has(n + 1)) continue;
    const start = starts.find(({ from }) => from === n + 1);
    expect(start?.gap ?? null, `behind the hole that ends at ${n}`).not.toBeNull();
  }
}

/** A batch from the head to `to`, as far as its epoch goes. */
function cutOf(
  starts: readonly EpochStart[],
  head: Place,
  to: number,
  missing: ReadonlySet<number>,
): Place | undefined {
  let number = head.number;
  const next = starts.find((start) => start.epoch > head.epoch);
  const own = starts.find((start) => start.epoch === head.epoch);
  const start =
    own !== undefined && !missing.has(number + 1) && (next === undefined || number + 1 < next.from) ? own : next;
  if (start === undefined) return undefined;
  number = Math.max(number, start.from - 1);
  const end = starts.find((s) => s.epoch > start.epoch)?.from ?? Number.MAX_SAFE_INTEGER;
  while (number + 1 <= to && number + 1 < end && !missing.has(number + 1)) number += 1;
  const seq = seqOf(start, number);
  return seq > (start === own ? head.seq : 0) ? { epoch: start.epoch, seq, number } : undefined;
}
