import { toRecordRow } from '../../src/control/ledger/rows.ts';
import type { Store } from '../../src/control/store/store.ts';
import { encodeEvent } from '../../src/core/audit/canonical.ts';
import type { DecisionEvent } from '../../src/core/audit/event.ts';
import { decision } from './audit.ts';

let leaf = 0;

/** Puts calls into the index, as if a sidecar had shipped them. Returns their ids. */
export async function recordCalls(store: Store, calls: readonly Partial<DecisionEvent>[]): Promise<readonly string[]> {
  const sidecar = 'sidecar-1';
  leaf += 1;
  const rows = calls.map((change, index) => {
    const event = decision(change);
    return toRecordRow(
      event,
      encodeEvent(event),
      { sidecar, epoch: 1, seq: leaf * 4096 + index, leaf, index },
      event.time,
    );
  });
  await store.transaction(async (trx) => {
    for (let start = 0; start < rows.length; start += 200) {
      await trx
        .insertInto('audit_records')
        .values(rows.slice(start, start + 200))
        .execute();
    }
  });
  return rows.map((row) => `${row.sidecar}.${row.epoch}.${row.seq}`);
}
