import { AppError } from '../../base/errors.ts';
import type { Store } from '../store/store.ts';

const KEY = 'root-fingerprint';

/**
 * Ties a store to the root that its identities hang from, at the first start; afterwards only that root may be used with it.
 * A control plane that lost its keys would otherwise start with a new root, and every workload would be cut off without a word;
 * so would two replicas with a root each.
 *
 * @throws AppError `incompatible-data` when the store belongs to another root
 */
export async function bindRoot(store: Store, fingerprint: string): Promise<void> {
  const bound = await store.transaction(async (trx) => {
    await trx
      .insertInto('meta')
      .values({ key: KEY, value: fingerprint })
      .onConflict((conflict) => conflict.column('key').doNothing())
      .execute();
    return (await trx.selectFrom('meta').select('value').where('key', '=', KEY).executeTakeFirstOrThrow()).value;
  });
  if (bound === fingerprint) return;
  throw new AppError(
    'incompatible-data',
    `The store belongs to the root sha256:${bound}, and the keys of this control plane are of sha256:${fingerprint}. ` +
      'Put back the keys directory that belongs to the store, or start with an empty data directory.',
  );
}
