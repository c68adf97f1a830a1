import { createHash } from 'node:crypto';
import { reason } from '../../../base/durable.ts';
import { AppError, unreachable } from '../../../base/errors.ts';
import { openBatch } from '../../../core/audit/batch.ts';
import { decodeEvent } from '../../../core/audit/canonical.ts';
import type { AuditEvent, HeartbeatEvent } from '../../../core/audit/event.ts';
import { describeForeign, describeForeignEvent, isControlPlane } from '../index-batch.ts';
import type { LoggedBatch } from '../ledger.ts';

/** Something that stands in the ledger and is no record: a sink is told that it is there, and why it is not shown. */
export interface NoteEvent {
  readonly kind: 'note';
  /** Of receipt: milliseconds since the epoch. */
  readonly time: number;
  /** `foreign`: said of others than whoever shipped it. `unreadable`: by this version. */
  readonly note: 'foreign' | 'unreadable';
  readonly detail: string;
}

export type ExportedEvent = Exclude<AuditEvent, HeartbeatEvent> | NoteEvent;

/** One event as sinks get it: what was said, by whom, and where it stands, so that it can be proved. */
export interface SinkItem {
  /** `<instance id>.<epoch>.<sequence>`: the same every time that it is exported, and the id that REST has for it. */
  readonly id: string;
  readonly event: ExportedEvent;
  readonly sidecar: string;
  readonly epoch: number;
  readonly sequence: number;
  /** Of the batch, in the ledger. */
  readonly leaf: number;
  /** In its batch. */
  readonly position: number;
  /** SPIFFE ID that shipped it, as mTLS verified it. */
  readonly recordedBy: string;
  /** By the clock of the ledger, in milliseconds since the epoch. */
  readonly receivedAt: number;
  /** SHA-256 of its canonical bytes, lower hex; of an unreadable batch, that of the batch's events as they came. */
  readonly eventHash: string;
  /** RFC 6962 root of its batch, lower hex. */
  readonly batchRoot: string;
  /** Bytes of the event. */
  readonly size: number;
}

/** Where a sink goes on: the first event that it has not taken. */
export interface SinkPosition {
  readonly leaf: number;
  readonly position: number;
}

/**
 * What a batch holds for sinks, from `from` on. Heartbeats are left out: they say that there was nothing. What cannot be
 * read, and what somebody says of others, is a note in its place, so that nothing is left out without a word.
 */
export function itemsOf(logged: LoggedBatch, from = 0): readonly SinkItem[] {
  const { header, leaf, instanceId: sidecar, spiffeId: recordedBy, receivedAt } = logged;
  const place = { sidecar, epoch: header.epoch, leaf, recordedBy, receivedAt, batchRoot: header.root.toString('hex') };
  const item = (event: ExportedEvent, position: number, bytes: Uint8Array): SinkItem => {
    const sequence = header.firstSeq + position;
    const id = `${sidecar}.${header.epoch}.${sequence}`;
    const eventHash = createHash('sha256').update(bytes).digest('hex');
    return Object.freeze({ id, event, ...place, sequence, position, eventHash, size: bytes.length });
  };
  const note = (kind: NoteEvent['note'], detail: string): NoteEvent =>
    Object.freeze({ kind: 'note', time: receivedAt, note: kind, detail });
  let events: readonly Buffer[];
  try {
    events = openBatch(logged.batch, header);
  } catch (error) {
    return from > 0 ? [] : [item(note('unreadable', describe(error)), 0, logged.batch.events)];
  }
  const items: SinkItem[] = [];
  for (const [position, bytes] of events.entries()) {
    if (position < from) continue;
    let event: AuditEvent;
    try {
      event = decodeEvent(bytes);
    } catch (error) {
      items.push(item(note('unreadable', describe(error)), position, bytes));
      continue;
    }
    if (event.kind === 'heartbeat') continue;
    const foreign = foreignTo(event, recordedBy);
    items.push(item(foreign === undefined ? event : note('foreign', foreign), position, bytes));
  }
  return items;
}

/** Why `spiffeId` is not believed what it says, as in the search index; `undefined` when it is. */
function foreignTo(event: Exclude<AuditEvent, HeartbeatEvent>, spiffeId: string): string | undefined {
  switch (event.kind) {
    case 'decision': {
      const own = event.direction === 'outbound' ? event.source : event.destination;
      return own === spiffeId ? undefined : describeForeign(event, spiffeId);
    }
    case 'identity':
      return isControlPlane(spiffeId) ? undefined : describeForeignEvent('identity', event.action, spiffeId);
    case 'admin':
      return isControlPlane(spiffeId) ? undefined : describeForeignEvent('administrative', event.action, spiffeId);
    case 'completion':
    case 'gap':
      return undefined;
    default:
      return unreachable(event);
  }
}

function describe(error: unknown): string {
  return error instanceof AppError ? error.message : reason(error);
}
