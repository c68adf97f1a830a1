import { reason } from '../../base/durable.ts';
import { AppError, unreachable } from '../../base/errors.ts';
import { openBatch } from '../../core/audit/batch.ts';
import { decodeEvent } from '../../core/audit/canonical.ts';
import type { AuditEvent, DecisionEvent } from '../../core/audit/event.ts';
import { controlPlaneId } from '../../core/identity/spiffe-id.ts';
import type {
  AdminEventsTable,
  AuditCompletionsTable,
  AuditNotesTable,
  AuditRecordsTable,
  IdentityEventsTable,
} from '../store/audit-tables.ts';
import { toAdminRow } from './admin-rows.ts';
import type { Heard } from './heard.ts';
import { noteHeard } from './heard.ts';
import { toIdentityRow } from './identity-rows.ts';
import type { LoggedBatch } from './ledger.ts';
import type { EventPlace } from './rows.ts';
import { toCompletionRow, toRecordRow } from './rows.ts';

/** What some batches add to the index. */
export interface IndexRows {
  readonly records: AuditRecordsTable[];
  readonly completions: AuditCompletionsTable[];
  readonly notes: AuditNotesTable[];
  readonly identities: IdentityEventsTable[];
  readonly admins: AdminEventsTable[];
}

/** How far the clock of a sidecar may be ahead of the ledger's until the index takes the time of receipt instead. */
export const MAX_AHEAD_MS = 5 * 60_000;

export function noRows(): IndexRows {
  return { records: [], completions: [], notes: [], identities: [], admins: [] };
}

export function countRows({ records, completions, notes, identities, admins }: IndexRows): number {
  return records.length + completions.length + notes.length + identities.length + admins.length;
}

/**
 * Adds the rows of a batch. An event that cannot be read (also one of a kind that this version does not know), a decision for
 * another service than the one that shipped it, and what anybody but a control plane says of identities and administration, become notes in
 * their place and stop nothing.
 */
export function addRows(rows: IndexRows, logged: LoggedBatch, heard: Heard = new Map()): void {
  const { header, leaf, instanceId: sidecar, spiffeId, receivedAt } = logged;
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
  const ahead: { readonly at: EventPlace; readonly event: DecisionEvent }[] = [];
  for (const [index, bytes] of events.entries()) {
    const at: EventPlace = { sidecar, epoch: header.epoch, seq: header.firstSeq + index, leaf, index };
    let event: AuditEvent;
    try {
      event = decodeEvent(bytes);
    } catch (error) {
      note(at, 'unreadable', receivedAt, describe(error));
      continue;
    }
    noteHeard(heard, sidecar, event, receivedAt);
    switch (event.kind) {
      case 'decision': {
        // The event is the word of the sidecar; the identity that shipped it was verified.
        if ((event.direction === 'outbound' ? event.source : event.destination) !== spiffeId) {
          note(at, 'foreign', receivedAt, describeForeign(event, spiffeId));
          break;
        }
        const isAhead = event.time > receivedAt + MAX_AHEAD_MS;
        if (isAhead) ahead.push({ at, event });
        rows.records.push(toRecordRow(event, bytes, at, isAhead ? receivedAt : event.time));
        break;
      }
      case 'completion':
        rows.completions.push(toCompletionRow(event, sidecar));
        break;
      case 'gap':
        note(at, 'gap', event.time, JSON.stringify(event));
        break;
      case 'heartbeat':
        break;
      case 'identity':
        // Whoever ships may sign anything: only a control plane is believed about identities.
        if (isControlPlane(spiffeId)) rows.identities.push(toIdentityRow(event, at));
        else note(at, 'foreign', receivedAt, describeForeignEvent('identity', event.action, spiffeId));
        break;
      case 'admin':
        if (isControlPlane(spiffeId)) rows.admins.push(toAdminRow(event, at));
        else note(at, 'foreign', receivedAt, describeForeignEvent('administrative', event.action, spiffeId));
        break;
      default:
        unreachable(event);
    }
  }
  // A clock that is wrong is wrong for every call: one note per batch says it.
  const [first] = ahead;
  if (first === undefined) return;
  const latest = ahead.reduce((time, { event }) => Math.max(time, event.time), first.event.time);
  const { call, time } = first.event;
  note(first.at, 'clock', receivedAt, JSON.stringify({ call, claimed: time, latest, decisions: ahead.length }));
}

export function describeForeign({ call, source, destination, direction }: DecisionEvent, spiffeId: string): string {
  if (direction === 'outbound') {
    return `Call ${call} claims to be made by ${source || 'nobody'}, but the sidecar that recorded it is that of ${spiffeId}.`;
  }
  return `Call ${call} claims to be for ${destination || 'nobody'}, but the sidecar that recorded it is that of ${spiffeId}.`;
}

export function describeForeignEvent(kind: 'identity' | 'administrative', action: string, spiffeId: string): string {
  return `An ${kind} event (${action}) was recorded by ${spiffeId || 'nobody'}, which is no control plane.`;
}

export function isControlPlane(spiffeId: string): boolean {
  const trustDomain = /^spiffe:\/\/([^/]+)\//.exec(spiffeId)?.[1];
  return trustDomain !== undefined && controlPlaneId(trustDomain).uri === spiffeId;
}

function describe(error: unknown): string {
  return error instanceof AppError ? error.message : reason(error);
}
