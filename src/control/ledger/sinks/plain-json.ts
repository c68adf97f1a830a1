import type { SinkItem } from './item.ts';

/** The event as it is in the ledger, with its place: nothing is renamed, nothing is left out. */
export function toPlainJson(item: SinkItem): string {
  const { id, event, sidecar, epoch, sequence, leaf, position, recordedBy, receivedAt, eventHash, batchRoot } = item;
  return JSON.stringify({
    id,
    ...event,
    time: new Date(event.time).toISOString(),
    recordedBy,
    receivedAt: new Date(receivedAt).toISOString(),
    place: { sidecar, epoch, sequence, leaf, position, eventHash, batchRoot },
  });
}
