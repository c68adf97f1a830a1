import type { Clock } from '../../../base/clock.ts';
import type { Journal } from '../../../base/journal/journal.ts';
import type { BatchHeader } from '../../../core/audit/batch-header.ts';
import { batchHash, lastSeqOf, parseBatchHeader } from '../../../core/audit/batch-header.ts';
import type { GapEvent } from '../../../core/audit/event.ts';
import type { Place } from './epochs.ts';
import type { SpoolState, StoredCut } from './state-file.ts';

/** A batch that was cut: from now on these events travel together, under this header, until they are acknowledged. */
export interface Cut extends Place {
  readonly header: BatchHeader;
  /** Canonical bytes of the header. */
  readonly bytes: Buffer;
  readonly hash: Buffer;
  /** Counts the batches of this spool. */
  readonly cut: number;
}

/** Of a new spool; or of one whose state file is lost, from which then everything is shipped again. */
export function firstState(journal: Journal, clock: Clock): SpoolState {
  const first = journal.runs[0]?.first;
  const isNew = first === undefined && journal.damage.length === 0 && !journal.openEnded;
  const from = first ?? 1;
  const gap: GapEvent | null = isNew
    ? null
    : { kind: 'gap', time: clock.now(), reason: 'spool-corrupt', epoch: 0, fromSeq: 0 };
  return {
    version: 1,
    instanceId: null,
    starts: [{ epoch: 1, from, gap }],
    acked: { epoch: 0, seq: 0, number: from - 1, cut: 0, hash: '' },
    segment: 0,
    written: from - 1,
  };
}

function follows(header: BatchHeader, before: Place & { readonly hash: Buffer }): boolean {
  if (header.epoch > before.epoch) return header.firstSeq === 1 && header.prevHash.length === 0;
  return header.epoch === before.epoch && header.firstSeq === before.seq + 1 && header.prevHash.equals(before.hash);
}

export function ackedPlace(state: SpoolState): Place & { readonly hash: Buffer } {
  const { epoch, seq, number, hash } = state.acked;
  return { epoch, seq, number, hash: Buffer.from(hash, 'hex') };
}

/** The cut batches behind the acknowledged one, as far as they follow each other and the plan. */
export function recoverCuts(state: SpoolState, stored: readonly StoredCut[]): readonly Cut[] {
  const cuts: Cut[] = [];
  for (;;) {
    const count: number = (cuts.at(-1) ?? state.acked).cut + 1;
    const found = stored.find((s) => s.cut === count);
    if (found === undefined) return cuts;
    const bytes = Buffer.from(found.header, 'utf8');
    const header = parseBatchHeader(bytes);
    const start = state.starts.find((s) => s.epoch === header.epoch);
    if (start === undefined || !follows(header, cuts.at(-1) ?? ackedPlace(state))) return cuts;
    const seq = lastSeqOf(header);
    const number = start.from - 1 + seq - (start.gap === null ? 0 : 1);
    // One that was given up: its records have become part of a later epoch.
    if (state.starts.some(({ epoch, from }) => epoch > header.epoch && from <= number)) return cuts;
    cuts.push(Object.freeze({ header, bytes, hash: batchHash(bytes), cut: count, epoch: header.epoch, seq, number }));
  }
}
