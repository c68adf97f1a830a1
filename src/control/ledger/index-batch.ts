import { reason } from '../../base/durable.ts';
import { AppError } from '../../base/errors.ts';
import { openBatch } from '../../core/audit/batch.ts';
import { decodeEvent } from '../../core/audit/canonical.ts';
import type { AuditEvent } from '../../core/audit/event.ts';
import type { AuditCompletionsTable, AuditNotesTable, AuditRecordsTable } from '../store/audit-tables.ts';
import type { LoggedBatch } from './ledger.ts';
import type { EventPlace } from './rows.ts';
import { toCompletionRow, toRecordRow } from './rows.ts';

/** What some batches add to the index. */
export interface IndexRows {
  readonly records: AuditRecordsTable[];
  readonly completions: AuditCompletionsTable[];
  readonly notes: AuditNotesTable[];
}

export function noRows(): IndexRows {
  return { records: [], completions: [], notes: [] };
}

/** Adds the rows of a batch. An event that cannot be read becomes a note in its place and stops nothing. */
export function addRows(rows: IndexRows, logged: LoggedBatch): void {
  const { header, leaf, instanceId: sidecar, receivedAt } = logged;
  const note = (at: Pick<EventPlace, 'epoch' | 'seq'>, kind: AuditNotesTable['kind'], time: number, detail: string) => {
    rows.notes.push({ sidecar, epoch: at.epoch, seq: at.seq, leaf, kind, time, detail });
  };
  let events: readonly Buffer[];
  try {
    events = openBatch(logged.batch, header);
  } catch (error) {
    note({ epoch: header.epoch, seq: header.firstSeq }, 'unreadable', receivedAt, describe(error));
    return;
  }
  for (const [index, bytes] of events.entries()) {
    const at: EventPlace = { sidecar, epoch: header.epoch, seq: header.firstSeq + index, leaf, index };
    let event: AuditEvent;
    try {
      event = decodeEvent(bytes);
    } catch (error) {
      note(at, 'unreadable', receivedAt, describe(error));
      continue;
    }
    switch (event.kind) {
      case 'decision':
        rows.records.push(toRecordRow(event, at));
        break;
      case 'completion':
        rows.completions.push(toCompletionRow(event, sidecar));
        break;
      case 'gap':
        note(at, 'gap', event.time, JSON.stringify(event));
        break;
      case 'heartbeat':
        break;
    }
  }
}

function describe(error: unknown): string {
  return error instanceof AppError ? error.message : reason(error);
}
