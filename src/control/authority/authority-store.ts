import type { Selectable, Transaction } from 'kysely';
import { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { Store } from '../store/store.ts';
import type { AuthoritiesTable, Tables } from '../store/tables.ts';
import type { AuthorityRecord, AuthoritySet } from './authorities.ts';
import { noAuthorities } from './authorities.ts';

/** Where the authorities of a trust domain stand, for all replicas of its control plane. */
export interface AuthorityStore {
  /** What is stored now. */
  read(): Promise<AuthoritySet>;
  /**
   * Compare and swap: `decide` is given what is stored at the moment of the change, and returns what shall be. Nothing else
   * changes in between, whichever replica asks, and the result is durable when this resolves. `decide` may be called several
   * times; what it throws is thrown on, and nothing is stored.
   *
   * That is why there is no lease with a fencing token here: a lease guards work that is done outside of the database, and
   * this is where all that must not happen twice is decided, in one serializable transaction that reads what it replaces. The
   * one thing that is done outside is making a key, and it may be done twice: a key whose record loses the race is never in
   * any bundle, and its maker deletes it. A replica that stops for a minute in the middle of a change therefore needs no
   * fencing either: when it goes on, it decides on what is stored by then.
   */
  change(decide: (current: AuthoritySet) => AuthoritySet): Promise<AuthoritySet>;
  /** Changes whenever something may have changed. */
  readonly changes: Watch<number>;
  /** Fingerprint of the root that an earlier version has tied this store to; undefined for none. */
  earlierRoot(): Promise<string | undefined>;
}

const EARLIER_ROOT = 'root-fingerprint';

/** In the database. */
export class SqlAuthorities implements AuthorityStore {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  get changes(): Watch<number> {
    return this.#store.revision;
  }

  async read(): Promise<AuthoritySet> {
    return await this.#store.transaction(async (trx) => (await readAll(trx)).set);
  }

  change(decide: (current: AuthoritySet) => AuthoritySet): Promise<AuthoritySet> {
    return this.#store.transaction(async (trx) => {
      const { set: before, version } = await readAll(trx);
      const after = decide(before);
      if (after === before) return before;
      await swapHead(trx, { version, sequence: after.sequence });
      await writeDifference(trx, before, after);
      await this.#store.nextRevision(trx);
      return after;
    });
  }

  async earlierRoot(): Promise<string | undefined> {
    const { db } = this.#store;
    return (await db.selectFrom('meta').select('value').where('key', '=', EARLIER_ROOT).executeTakeFirst())?.value;
  }
}

/** In this process: for tests, and for control planes that shall forget everything when they end. */
export class MemoryAuthorities implements AuthorityStore {
  readonly #changes = new WatchSource(0);
  #set: AuthoritySet = noAuthorities;

  get changes(): Watch<number> {
    return this.#changes;
  }

  read(): Promise<AuthoritySet> {
    return Promise.resolve(this.#set);
  }

  async change(decide: (current: AuthoritySet) => AuthoritySet): Promise<AuthoritySet> {
    const before = this.#set;
    this.#set = decide(before);
    if (this.#set !== before) this.#changes.set(this.#changes.current + 1);
    return this.#set;
  }

  earlierRoot(): Promise<string | undefined> {
    return Promise.resolve(undefined);
  }
}

async function readAll(trx: Transaction<Tables>): Promise<{ readonly set: AuthoritySet; readonly version: number }> {
  const head = await trx.selectFrom('authority_head').selectAll().where('id', '=', 1).executeTakeFirstOrThrow();
  const rows = await trx.selectFrom('authorities').selectAll().orderBy('id').execute();
  return {
    version: head.version,
    set: Object.freeze({ sequence: head.sequence, records: Object.freeze(rows.map(toRecord)) }),
  };
}

/** The transaction is serializable, so this cannot fail; should a database be less than it says, it fails here. */
async function swapHead(
  trx: Transaction<Tables>,
  o: { readonly version: number; readonly sequence: number },
): Promise<void> {
  const { numUpdatedRows } = await trx
    .updateTable('authority_head')
    .set({ version: o.version + 1, sequence: o.sequence })
    .where('id', '=', 1)
    .where('version', '=', o.version)
    .executeTakeFirstOrThrow();
  if (numUpdatedRows !== 1n)
    throw new AppError('conflict', 'The authorities were changed at the same time. Try again.');
}

async function writeDifference(trx: Transaction<Tables>, before: AuthoritySet, after: AuthoritySet): Promise<void> {
  for (const record of after.records) {
    if (before.records.includes(record)) continue;
    const { id, ...rest } = toRow(record);
    await trx
      .insertInto('authorities')
      .values({ id, ...rest })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(rest))
      .execute();
  }
  const ids = new Set(after.records.map((record) => record.id));
  for (const { id } of before.records) {
    if (!ids.has(id)) await trx.deleteFrom('authorities').where('id', '=', id).execute();
  }
}

function toRow(record: AuthorityRecord): AuthoritiesTable {
  return {
    id: record.id,
    kind: record.kind,
    state: record.state,
    name: record.name,
    key_name: record.keyName,
    certificate: record.certificate,
    jwk: record.jwk === null ? null : JSON.stringify(record.jwk),
    not_before: record.notBefore,
    not_after: record.notAfter,
    below_ms: record.belowMs,
    created_at: record.createdAt,
    since: record.since,
    sequence: record.sequence,
    soon: record.soon ? 1 : 0,
  };
}

function toRecord(row: Selectable<AuthoritiesTable>): AuthorityRecord {
  return Object.freeze({
    id: row.id,
    kind: row.kind,
    state: row.state,
    name: row.name,
    keyName: row.key_name,
    // A Uint8Array from SQLite.
    certificate: row.certificate === null ? null : Buffer.from(row.certificate),
    jwk: row.jwk === null ? null : Object.freeze(JSON.parse(row.jwk)),
    notBefore: row.not_before,
    notAfter: row.not_after,
    belowMs: row.below_ms,
    createdAt: row.created_at,
    since: row.since,
    sequence: row.sequence,
    soon: row.soon === 1,
  });
}
