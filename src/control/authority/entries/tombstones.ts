import type { Transaction } from 'kysely';
import type { Tables } from '../../store/tables.ts';

/** How long it is remembered that an entry was deleted: far longer than any replica goes without looking. */
export const TOMBSTONE_LIFETIME_MS = 24 * 60 * 60 * 1000;

/** Deletes entries, and leaves word for those who hold them in memory. */
export async function bury(
  trx: Transaction<Tables>,
  ids: readonly string[],
  at: { readonly revision: number; readonly now: number },
): Promise<void> {
  if (ids.length === 0) return;
  await trx.deleteFrom('entries').where('id', 'in', ids).execute();
  await trx
    .deleteFrom('deleted_entries')
    .where('deleted_at', '<', at.now - TOMBSTONE_LIFETIME_MS)
    .execute();
  const rows = ids.map((id) => ({ id, revision: at.revision, deleted_at: at.now }));
  await trx.insertInto('deleted_entries').values(rows).execute();
}
