import { setImmediate } from 'node:timers/promises';
import type { Store } from '../store/store.ts';

/** Rows that share a transaction: SQLite works on this thread, and a whole table would keep everybody waiting. */
const ROWS_PER_TRANSACTION = 5000;

/**
 * Throws away every row of the index, some at a time. What comes of it when it is interrupted is half an index: whoever begins
 * must have said so in the database (`CLEARING`), so that it is finished after the next start.
 */
export async function clearIndex(store: Store, signal: AbortSignal): Promise<void> {
  for (const step of steps) {
    do signal.throwIfAborted();
    while ((await step(store)) > 0);
  }
}

/** As the position of an index whose rows are being thrown away. */
export const CLEARING = -1;

/** Each deletes some rows, and says how many. */
const steps: readonly ((store: Store) => Promise<number>)[] = [
  (store) => some(store, 'audit_records', 'place'),
  (store) => some(store, 'audit_completions', 'call'),
  (store) => some(store, 'audit_notes', 'leaf'),
  (store) => some(store, 'identity_events', 'place'),
  (store) => some(store, 'admin_events', 'place'),
];

async function some(
  store: Store,
  table: 'audit_records' | 'audit_completions' | 'audit_notes' | 'identity_events' | 'admin_events',
  column: 'place' | 'call' | 'leaf',
): Promise<number> {
  const deleted = await store.transaction(async (trx) => {
    const { ref } = trx.dynamic;
    const doomed = trx.selectFrom(table).select(ref<string>(column)).limit(ROWS_PER_TRANSACTION);
    const { numDeletedRows } = await trx.deleteFrom(table).where(ref<string>(column), 'in', doomed).executeTakeFirst();
    return Number(numDeletedRows);
  });
  await setImmediate();
  return deleted;
}
