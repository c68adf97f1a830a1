import { AppError } from '../../base/errors.ts';
import type { Journal } from '../../base/journal/journal.ts';
import { batchHash, parseBatchHeader } from '../../core/audit/batch-header.ts';
import { decodeRecord } from './record.ts';
import type { Sidecars } from './sidecars.ts';

/** A ledger is whole or it is not opened: throws `incompatible-data`, naming file and offset. */
export function refuseDamage(journal: Journal, directory: string, snapshotRecord: number): void {
  const [damage] = journal.damage;
  if (damage !== undefined) throw damaged(`${damage.path} is damaged at offset ${damage.offset}: ${damage.reason}`);
  const first = journal.runs[0]?.first ?? 1;
  if (first !== 1) throw damaged(`${directory}: the records 1 to ${first - 1} are missing`);
  const last = journal.durable.current;
  if (last < snapshotRecord) throw damaged(`${directory}: the records ${last + 1} to ${snapshotRecord} are missing`);
}

function damaged(what: string): AppError {
  return new AppError('incompatible-data', `${what}. Restore the ledger from a backup; nothing was changed.`);
}

/** Derives what follows from the records behind the snapshot. */
export async function replay(journal: Journal, sidecars: Sidecars): Promise<void> {
  const reader = journal.reader(sidecars.record + 1);
  try {
    for (;;) {
      const frame = await reader.read();
      if (frame === undefined) break;
      apply(frame.number, frame.payload, sidecars);
    }
  } finally {
    await reader.close();
  }
  sidecars.takeBack();
}

function apply(number: number, payload: Buffer, sidecars: Sidecars): void {
  const record = decodeRecord(payload);
  if (record.kind === 'key') sidecars.applyKey(number, record.meta);
  else if (record.kind === 'batch') {
    sidecars.applyBatch(number, record.meta, parseBatchHeader(record.batch.header), batchHash(record.batch.header));
  } else sidecars.applyEvidence(number, record.meta.instanceId, batchHash(record.batch.header));
}
