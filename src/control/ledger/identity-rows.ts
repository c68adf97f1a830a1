import type { Selectable } from 'kysely';
import type { IdentityEvent, IdentityRecord } from '../../core/audit/event.ts';
import { MAX_BATCH_EVENTS } from '../../core/audit/ship.ts';
import type { IdentityEventsTable } from '../store/audit-tables.ts';
import type { EventPlace } from './rows.ts';
import { indexedStart, proofOf, storable } from './rows.ts';

export function toIdentityRow(event: IdentityEvent, at: EventPlace): IdentityEventsTable {
  const subject = storable(event.subject);
  const actor = storable(event.actor);
  return {
    recorder: at.sidecar,
    epoch: at.epoch,
    seq: at.seq,
    place: at.leaf * MAX_BATCH_EVENTS + at.index,
    leaf: at.leaf,
    time: event.time,
    action: event.action,
    outcome: event.outcome,
    subject,
    subject_start: indexedStart(subject),
    actor,
    actor_start: indexedStart(actor),
    entry: storable(event.entry),
    instance: storable(event.instance),
    serial: storable(event.serial),
    method: storable(event.method),
    // Escapes make JSON storable whatever is in it.
    selectors: JSON.stringify(event.selectors),
    audience: JSON.stringify(event.audience),
    expires_at: event.expiresAt,
    reason: storable(event.reason),
    source: storable(event.source),
  };
}

/** @param sealedBelow batches that the published checkpoint covers */
export function toIdentityRecord(row: Selectable<IdentityEventsTable>, sealedBelow: number): IdentityRecord {
  return Object.freeze({
    id: `${row.recorder}.${row.epoch}.${row.seq}`,
    time: new Date(row.time).toISOString(),
    action: row.action as IdentityRecord['action'],
    outcome: row.outcome as IdentityRecord['outcome'],
    subject: row.subject,
    actor: row.actor,
    entry: row.entry,
    instance: row.instance,
    serial: row.serial,
    method: row.method,
    selectors: JSON.parse(row.selectors) as readonly string[],
    audience: JSON.parse(row.audience) as readonly string[],
    expiresAt: row.expires_at === 0 ? null : new Date(row.expires_at).toISOString(),
    reason: row.reason,
    source: row.source,
    recorder: row.recorder,
    epoch: row.epoch,
    sequence: row.seq,
    proof: proofOf(row.leaf, sealedBelow),
  });
}
