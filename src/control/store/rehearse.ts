import type { Store } from './store.ts';

/** The part of a store that changes it. */
export type Writer = Pick<Store, 'transaction' | 'nextRevision'>;

export interface WriteOptions {
  /** Check everything, change nothing, return what would be: at revision 0 where it would get a new one. */
  readonly dryRun?: boolean | undefined;
}

/**
 * What a write goes through. In a dry run the very same statements run, and are then rolled back: so it finds whatever the
 * write would find. No revision is taken, since the row that counts them is what all writers wait for.
 */
export function writer(store: Writer, options: WriteOptions = {}): Writer {
  if (options.dryRun !== true) return store;
  return { transaction: (fn) => rehearse(store, fn), nextRevision: async () => 0 };
}

async function rehearse<T>(store: Writer, fn: Parameters<Writer['transaction']>[0]): Promise<T> {
  try {
    await store.transaction(async (trx) => {
      throw new Rehearsed(await fn(trx));
    });
  } catch (error) {
    if (error instanceof Rehearsed) return error.value as T;
    throw error;
  }
  throw new Error('A rehearsal ended without being rolled back.');
}

/** Thrown to roll back; it carries out what the transaction would have returned. */
class Rehearsed extends Error {
  readonly value: unknown;

  constructor(value: unknown) {
    super('rolled back');
    this.value = value;
  }
}
