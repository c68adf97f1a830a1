import type { Selectable, Transaction } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import { compareText } from '../store/compare.ts';
import { isDuplicate } from '../store/failures.ts';
import { matchesLabels, parseLabelSelector } from '../store/label-selector.ts';
import type { PageRequest, RevisedPage } from '../store/page.ts';
import { pageLimit } from '../store/page.ts';
import type { WriteOptions } from '../store/rehearse.ts';
import { writer } from '../store/rehearse.ts';
import { scanPage } from '../store/scan.ts';
import type { Store } from '../store/store.ts';
import type { EntriesTable, Tables } from '../store/tables.ts';
import type { EntryInput, EntrySpec } from './entry-input.ts';
import { checkEntryInput } from './entry-input.ts';

export type { EntryInput } from './entry-input.ts';

/** A workload that may have an identity. */
export interface Entry {
  /** UUIDv7: entries sort by when they were made. */
  readonly id: string;
  readonly spiffeId: string;
  readonly selectors: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** null: the authority's default. */
  readonly x509TtlSeconds: number | null;
  /** null: the authority's default. */
  readonly jwtTtlSeconds: number | null;
  /** Store revision of its last change: its ETag. */
  readonly revision: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** The revision that the caller has seen; `*` or undefined for whatever is there. */
export type IfMatch = number | '*' | undefined;

export interface EntryFilter extends PageRequest {
  readonly namespace?: string | undefined;
  readonly spiffeId?: string | undefined;
  /** As Kubernetes writes it (`store/label-selector.ts`). */
  readonly labelSelector?: string | undefined;
}

export interface EntriesOptions {
  readonly store: Store;
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly random?: RandomBytes;
}

/**
 * Who may have which identity. A SPIFFE ID has at most one entry, and only while it has one are its certificates renewed
 * and its tokens signed.
 */
export class Entries {
  readonly #store: Store;
  readonly #trustDomain: string;
  readonly #clock: Clock;
  readonly #random: RandomBytes;

  constructor(options: EntriesOptions) {
    this.#store = options.store;
    this.#trustDomain = options.trustDomain;
    this.#clock = options.clock;
    this.#random = options.random ?? secureRandom;
  }

  /** Throws `invalid` (with all that is wrong) and `conflict` when the SPIFFE ID has an entry already. */
  async create(input: EntryInput, options: WriteOptions = {}): Promise<Entry> {
    const spec = checkEntryInput(input, this.#trustDomain);
    const id = uuidv7(this.#clock, this.#random);
    const store = writer(this.#store, options);
    try {
      return await store.transaction(async (trx) => {
        await refuseSecond(trx, spec);
        const now = this.#clock.now();
        const revision = await store.nextRevision(trx);
        const row = { id, ...columnsOf(spec), revision, created_at: now, updated_at: now };
        await trx.insertInto('entries').values(row).execute();
        return toEntry(row);
      });
    } catch (error) {
      if (isDuplicate(error)) throw alreadyThere(spec);
      throw error;
    }
  }

  /**
   * Replaces selectors, labels and lifetimes; what `input` leaves out goes back to its default. The SPIFFE ID stays.
   * The same content again changes nothing. Throws `not-found`, `precondition-failed`, `invalid`.
   */
  async update(id: string, input: EntryInput, ifMatch: IfMatch, options: WriteOptions = {}): Promise<Entry> {
    const spec = checkEntryInput(input, this.#trustDomain);
    const store = writer(this.#store, options);
    return await store.transaction(async (trx) => {
      const before = await readRow(trx, id);
      checkMatch(before, ifMatch);
      if (spec.id.uri !== before.spiffe_id) {
        throw new AppError(
          'invalid',
          `The SPIFFE ID of an entry cannot change (it is ${before.spiffe_id}). Create another entry and delete this one.`,
        );
      }
      const content = columnsOf(spec);
      if (isSame(before, content)) return toEntry(before);
      const revision = await store.nextRevision(trx);
      const change = { ...content, revision, updated_at: this.#clock.now() };
      await trx.updateTable('entries').set(change).where('id', '=', id).execute();
      return toEntry({ ...before, ...change });
    });
  }

  /** Throws `not-found`. */
  async get(id: string): Promise<Entry> {
    return toEntry(await readRow(this.#store.db, id));
  }

  /** Oldest first. Throws `invalid` for a bad limit or selector, `invalid-cursor`, `cursor-expired`. */
  async list(filter: EntryFilter = {}): Promise<RevisedPage<Entry>> {
    const limit = pageLimit(filter.limit);
    const selector = filter.labelSelector === undefined ? undefined : parseLabelSelector(filter.labelSelector);
    // Read before the rows, which are at least as new.
    const revision = this.#store.revision.current;
    const page = await scanPage<EntryRow>({
      cursors: this.#store.cursors,
      scope: `entries ${JSON.stringify([filter.namespace ?? null, filter.spiffeId ?? null, selector ?? null])}`,
      limit,
      cursor: filter.cursor,
      read: ([after] = [], count) => {
        let query = this.#store.db.selectFrom('entries').selectAll();
        if (filter.namespace !== undefined) query = query.where('namespace', '=', filter.namespace);
        if (filter.spiffeId !== undefined) query = query.where('spiffe_id', '=', filter.spiffeId);
        if (after !== undefined) query = query.where('id', '>', String(after));
        return query.orderBy('id').limit(count).execute();
      },
      keysOf: (row) => [row.id],
      matches: selector && ((row) => matchesLabels(selector, JSON.parse(row.labels) as Record<string, string>)),
    });
    return { items: page.items.map(toEntry), nextCursor: page.nextCursor, revision };
  }

  /**
   * From now on this identity is not renewed, and its join tokens are worth nothing. Certificates that are out stay valid
   * until they expire. Returns what it was. Throws `not-found`, `precondition-failed`.
   */
  async delete(id: string, ifMatch: IfMatch, options: WriteOptions = {}): Promise<Entry> {
    const store = writer(this.#store, options);
    return await store.transaction(async (trx) => {
      const row = await readRow(trx, id);
      checkMatch(row, ifMatch);
      await trx.deleteFrom('entries').where('id', '=', id).execute();
      // Whoever follows the feed learns that something went.
      await store.nextRevision(trx);
      return toEntry(row);
    });
  }

  /** For whoever is about to sign for this identity: undefined means no. */
  async bySpiffeId(spiffeId: string): Promise<Entry | undefined> {
    const row = await this.#store.db
      .selectFrom('entries')
      .selectAll()
      .where('spiffe_id', '=', spiffeId)
      .executeTakeFirst();
    return row === undefined ? undefined : toEntry(row);
  }
}

type EntryRow = Selectable<EntriesTable>;

export function toEntry(row: EntryRow): Entry {
  return Object.freeze({
    id: row.id,
    spiffeId: row.spiffe_id,
    selectors: Object.freeze(JSON.parse(row.selectors) as string[]),
    labels: Object.freeze(JSON.parse(row.labels) as Record<string, string>),
    x509TtlSeconds: row.x509_ttl_seconds,
    jwtTtlSeconds: row.jwt_ttl_seconds,
    revision: row.revision,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  });
}

function columnsOf(spec: EntrySpec) {
  // Labels sorted, so that the same labels are the same text.
  const labels = Object.fromEntries(Object.entries(spec.labels).sort(([a], [b]) => compareText(a, b)));
  return {
    spiffe_id: spec.id.uri,
    namespace: spec.namespace,
    selectors: JSON.stringify(spec.selectors),
    labels: JSON.stringify(labels),
    x509_ttl_seconds: spec.x509TtlSeconds,
    jwt_ttl_seconds: spec.jwtTtlSeconds,
  };
}

function isSame(row: EntryRow, content: ReturnType<typeof columnsOf>): boolean {
  return (
    row.selectors === content.selectors &&
    row.labels === content.labels &&
    row.x509_ttl_seconds === content.x509_ttl_seconds &&
    row.jwt_ttl_seconds === content.jwt_ttl_seconds
  );
}

async function readRow(db: Pick<Transaction<Tables>, 'selectFrom'>, id: string): Promise<EntryRow> {
  const row = await db.selectFrom('entries').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new AppError('not-found', 'There is no entry with this id.');
  return row;
}

async function refuseSecond(trx: Transaction<Tables>, spec: EntrySpec): Promise<void> {
  const row = await trx.selectFrom('entries').select('id').where('spiffe_id', '=', spec.id.uri).executeTakeFirst();
  if (row !== undefined) throw alreadyThere(spec);
}

function alreadyThere(spec: EntrySpec): AppError {
  return new AppError('conflict', `${spec.id.uri} has an entry already. Change that one, or delete it first.`);
}

function checkMatch(row: EntryRow, ifMatch: IfMatch): void {
  if (ifMatch === undefined || ifMatch === '*' || ifMatch === row.revision) return;
  throw new AppError(
    'precondition-failed',
    `The entry is at revision ${row.revision}, not ${ifMatch}: somebody changed it. Read it again and repeat your change.`,
  );
}
