import type { ExpressionBuilder, Transaction } from 'kysely';
import type { Clock } from '../../../base/clock.ts';
import { AppError } from '../../../base/errors.ts';
import type { RandomBytes } from '../../../base/random.ts';
import { secureRandom, uuidv7 } from '../../../base/random.ts';
import { dnsLabel, matchTemplate } from '../../../core/identity/template.ts';
import type { Recorder } from '../../ledger/recorder.ts';
import { isDuplicate } from '../../store/failures.ts';
import { matchesLabels, parseLabelSelector } from '../../store/label-selector.ts';
import type { PageRequest, RevisedPage } from '../../store/page.ts';
import { pageLimit } from '../../store/page.ts';
import type { WriteOptions } from '../../store/rehearse.ts';
import { writer } from '../../store/rehearse.ts';
import { scanPage } from '../../store/scan.ts';
import type { Store } from '../../store/store.ts';
import type { Tables } from '../../store/tables.ts';
import type { Entry, EntryRow } from './entry.ts';
import { columnsOf, isSame, toEntry } from './entry.ts';
import type { Imported, ImportOrder } from './entry-batch.ts';
import { createAll } from './entry-batch.ts';
import type { ImportWarning } from './entry-import.ts';
import { readSpireEntries } from './entry-import.ts';
import type { EntryInput } from './entry-input.ts';
import { checkEntryInput } from './entry-input.ts';
import type { Write } from './entry-writes.ts';
import {
  alreadyThere,
  buryExpired,
  insertRows,
  labelsFor,
  newRow,
  otherLabels,
  readSiblings,
  refusePast,
  twinOf,
} from './entry-writes.ts';
import { bury } from './tombstones.ts';

export type { Entry } from './entry.ts';
export { toEntry } from './entry.ts';
export type { EntryInput } from './entry-input.ts';

const RECORDED_TOGETHER = 250;

/** The revision that the caller has seen; `*` or undefined for whatever is there. */
export type IfMatch = number | '*' | undefined;

export interface EntryFilter extends PageRequest {
  /** Those whose SPIFFE ID is in it, and templates that can name it. */
  readonly namespace?: string | undefined;
  readonly spiffeId?: string | undefined;
  readonly parentId?: string | undefined;
  /** Those that ask for this selector. */
  readonly selector?: string | undefined;
  /** As Kubernetes writes it (`store/label-selector.ts`). */
  readonly labelSelector?: string | undefined;
}

/** How an entry is written, and by whom, for the audit log. */
export interface EntryWriteOptions extends WriteOptions {
  /** Name of the administrator. Default: the control plane itself. */
  readonly actor?: string | undefined;
  /** Network address. */
  readonly source?: string | undefined;
}

export interface ImportedFromSpire extends Imported {
  readonly warnings: readonly ImportWarning[];
}

export interface EntriesOptions {
  readonly store: Store;
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly random?: RandomBytes;
  /** Told of every change before it is there; while it cannot record, nothing changes. Default: nobody is told. */
  readonly recorder?: Recorder | undefined;
}

/**
 * Who may have which identity. No two entries have the same parent, SPIFFE ID and selectors; those of one SPIFFE ID have the
 * same labels. An entry that has expired is as if it were not there, though it is shown until something takes its place.
 */
export class Entries {
  readonly #store: Store;
  readonly #trustDomain: string;
  readonly #clock: Clock;
  readonly #random: RandomBytes;
  readonly #recorder: Recorder | undefined;

  constructor(options: EntriesOptions) {
    this.#store = options.store;
    this.#trustDomain = options.trustDomain;
    this.#clock = options.clock;
    this.#random = options.random ?? secureRandom;
    this.#recorder = options.recorder;
  }

  /** Throws `invalid` (with all that is wrong) and `conflict` when there is one already, or its labels contradict others. */
  async create(input: EntryInput, options: EntryWriteOptions = {}): Promise<Entry> {
    const spec = checkEntryInput(input, this.#trustDomain);
    const id = uuidv7(this.#clock, this.#random);
    try {
      return await this.#write(options, async (write) => {
        refusePast(spec, write.now);
        const siblings = (await readSiblings(write, [spec.spiffeId])).get(spec.spiffeId) ?? [];
        const twin = twinOf(spec, siblings, write.now);
        if (twin !== undefined) throw alreadyThere(spec, twin);
        const { labels, contradicts } = labelsFor(spec, siblings, write.now);
        if (contradicts !== undefined) throw otherLabels(spec, contradicts);
        await buryExpired(write, siblings);
        const row = newRow(id, spec, labels, { revision: await write.revision(), now: write.now });
        await insertRows(write, [row]);
        const entry = toEntry(row);
        await this.#record('entry.create', [entry], options);
        return entry;
      });
    } catch (error) {
      if (isDuplicate(error)) throw alreadyThere(spec, undefined);
      throw error;
    }
  }

  /**
   * All or none, in one change. An entry that is there already, exactly like this, is left as it is. Throws `invalid` with
   * every finding of every item, `conflict` with every contradiction.
   */
  async createAll(order: ImportOrder, options: EntryWriteOptions = {}): Promise<Imported> {
    const trustDomain = this.#trustDomain;
    const makeId = () => uuidv7(this.#clock, this.#random);
    return await this.#write(options, async (write) => {
      const imported = await createAll(order, { write, trustDomain, makeId });
      await this.#record('entry.create', imported.created, options);
      return imported;
    });
  }

  /**
   * Entries as `spire-server entry create -data` takes them, all or none, as `createAll`. What Writ has no equivalent for is a
   * finding; what is called otherwise here is said in the warnings.
   *
   * @param document JSON, of whoever may write entries
   */
  async importSpire(document: unknown, options: EntryWriteOptions = {}): Promise<ImportedFromSpire> {
    const { warnings, ...order } = readSpireEntries(document, this.#trustDomain);
    return { ...(await this.createAll(order, options)), warnings };
  }

  /**
   * Replaces everything but the SPIFFE ID; what `input` leaves out goes back to its default. Labels are changed for all
   * entries of the SPIFFE ID. The same content again changes nothing. Throws `not-found`, `precondition-failed`, `invalid`,
   * and `conflict` when another has this parent and these selectors.
   */
  async update(id: string, input: EntryInput, ifMatch: IfMatch, options: EntryWriteOptions = {}): Promise<Entry> {
    const spec = checkEntryInput(input, this.#trustDomain);
    return await this.#write(options, async (write) => {
      const before = await readRow(write.trx, id);
      checkMatch(before, ifMatch);
      if (spec.spiffeId !== before.spiffe_id) throw otherSpiffeId(before);
      refusePast(spec, write.now, before.expires_at);
      const all = (await readSiblings(write, [spec.spiffeId])).get(spec.spiffeId) ?? [];
      const siblings = all.filter((row) => row.id !== id);
      const twin = twinOf(spec, siblings, write.now);
      if (twin !== undefined) throw alreadyThere(spec, twin);
      const { labels } = labelsFor(spec, siblings, write.now);
      const columns = columnsOf(spec, labels);
      const others = siblings.filter((row) => row.labels !== columns.labels);
      if (isSame({ ...before, fingerprint: columns.fingerprint }, columns) && others.length === 0) {
        return toEntry(before);
      }
      await buryExpired(write, siblings);
      const change = { revision: await write.revision(), updated_at: write.now };
      await write.trx
        .updateTable('entries')
        .set({ labels: columns.labels, ...change })
        .where('spiffe_id', '=', spec.spiffeId)
        .where('id', '!=', id)
        .where('labels', '!=', columns.labels)
        .execute();
      await write.trx
        .updateTable('entries')
        .set({ ...columns, ...change })
        .where('id', '=', id)
        .execute();
      const entry = toEntry({ ...before, ...columns, ...change });
      await this.#record('entry.update', [entry], options);
      return entry;
    });
  }

  /** Throws `not-found`. */
  async get(id: string): Promise<Entry> {
    return toEntry(await readRow(this.#store.db, id));
  }

  /** Oldest first. Throws `invalid` for a bad limit or selector, `invalid-cursor`, `cursor-expired`. */
  async list(filter: EntryFilter = {}): Promise<RevisedPage<Entry>> {
    const limit = pageLimit(filter.limit);
    const { namespace, spiffeId, parentId, selector: held } = filter;
    const labels = filter.labelSelector === undefined ? undefined : parseLabelSelector(filter.labelSelector);
    // Read before the rows, which are at least as new.
    const revision = this.#store.revision.current;
    const hasLabels = (row: EntryRow) =>
      labels === undefined || matchesLabels(labels, JSON.parse(row.labels) as Record<string, string>);
    const hasSelector = (row: EntryRow) =>
      held === undefined || (JSON.parse(row.selectors) as readonly string[]).includes(held);
    const page = await scanPage<EntryRow>({
      cursors: this.#store.cursors,
      scope: `entries ${JSON.stringify([namespace, spiffeId, parentId, held, labels].map((part) => part ?? null))}`,
      limit,
      cursor: filter.cursor,
      read: ([after] = [], count) => {
        let query = this.#store.db.selectFrom('entries').selectAll();
        if (namespace !== undefined) query = query.where(inNamespace(namespace));
        if (spiffeId !== undefined) query = query.where('spiffe_id', '=', spiffeId);
        if (parentId !== undefined) query = query.where('parent_id', '=', parentId);
        if (after !== undefined) query = query.where('id', '>', String(after));
        return query.orderBy('id').limit(count).execute();
      },
      keysOf: (row) => [row.id],
      matches: labels === undefined && held === undefined ? undefined : (row) => hasLabels(row) && hasSelector(row),
    });
    return { items: page.items.map(toEntry), nextCursor: page.nextCursor, revision };
  }

  /**
   * From now on nothing is issued for it, and its join tokens are worth nothing. Certificates that are out stay valid until
   * they expire. Returns what it was. Throws `not-found`, `precondition-failed`.
   */
  async delete(id: string, ifMatch: IfMatch, options: EntryWriteOptions = {}): Promise<Entry> {
    return await this.#write(options, async (write) => {
      const row = await readRow(write.trx, id);
      checkMatch(row, ifMatch);
      await bury(write.trx, [id], { revision: await write.revision(), now: write.now });
      const entry = toEntry(row);
      await this.#record('entry.delete', [entry], options);
      return entry;
    });
  }

  /**
   * What speaks for an identity, for whoever is about to sign for it or asks for its labels: its first entry that has not
   * expired, else the first template that can make it. undefined means no.
   */
  async bySpiffeId(spiffeId: string): Promise<Entry | undefined> {
    const now = this.#clock.now();
    const exact = await this.#live(now)
      .where('spiffe_id', '=', spiffeId)
      .where('template', '=', 0)
      .limit(1)
      .executeTakeFirst();
    if (exact !== undefined) return toEntry(exact);
    // The first segment of a template is literal, so only those with the same can make it.
    const start = /^spiffe:\/\/[^/]+\/[^/]+\//.exec(spiffeId)?.[0];
    if (start === undefined) return undefined;
    const templates = await this.#live(now)
      .where('template', '=', 1)
      .where('spiffe_id', '>', start)
      .where('spiffe_id', '<', `${start}\u007f`)
      .execute();
    return templates.map(toEntry).find((entry) => matchTemplate(entry, spiffeId) !== undefined);
  }

  #live(now: number) {
    return this.#store.db
      .selectFrom('entries')
      .selectAll()
      .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
      .orderBy('id');
  }

  async #write<T>(options: EntryWriteOptions, work: (write: Write) => Promise<T>): Promise<T> {
    const store = writer(this.#store, options);
    return await store.transaction(async (trx) => {
      let revision: Promise<number> | undefined;
      const take = () => {
        revision ??= store.nextRevision(trx);
        return revision;
      };
      return await work({ trx, now: this.#clock.now(), revision: take });
    });
  }

  /**
   * The last step before the commit: what cannot be recorded is not done. Should the commit then fail, the log has a change
   * that did not come about, which is the lesser evil.
   */
  async #record(
    action: 'entry.create' | 'entry.update' | 'entry.delete',
    entries: readonly Entry[],
    options: EntryWriteOptions,
  ): Promise<void> {
    const recorder = this.#recorder;
    if (recorder === undefined || options.dryRun === true) return;
    const facts = (entry: Entry) => ({
      action,
      outcome: 'granted' as const,
      subject: entry.spiffeId,
      actor: options.actor ?? 'control-plane',
      entry: entry.id,
      instance: '',
      serial: '',
      method: '',
      selectors: entry.selectors,
      audience: [],
      expiresAt: entry.expiresAt ?? 0,
      reason: '',
      source: options.source ?? '',
    });
    // A few at a time: what waits to be recorded is bounded, and others issue meanwhile.
    for (let at = 0; at < entries.length; at += RECORDED_TOGETHER) {
      const some = entries.slice(at, at + RECORDED_TOGETHER);
      await Promise.all(some.map((entry) => recorder.record(facts(entry))));
    }
  }
}

/** Of its SPIFFE ID, or one of those that bound a template. */
function inNamespace(namespace: string) {
  return (eb: ExpressionBuilder<Tables, 'entries'>) => {
    const literal = eb('namespace', '=', namespace);
    // The name of a namespace has no sign that `like` would read as another; what has one is no such name.
    if (!dnsLabel.test(namespace)) return literal;
    return eb.or([literal, eb.and([eb('template', '=', 1), eb('namespaces', 'like', `%"${namespace}"%`)])]);
  };
}

async function readRow(db: Pick<Transaction<Tables>, 'selectFrom'>, id: string): Promise<EntryRow> {
  const row = await db.selectFrom('entries').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new AppError('not-found', 'There is no entry with this id.');
  return row;
}

function otherSpiffeId(before: EntryRow): AppError {
  return new AppError(
    'invalid',
    `The SPIFFE ID of an entry cannot change (it is ${before.spiffe_id}). Create another entry and delete this one.`,
  );
}

function checkMatch(row: EntryRow, ifMatch: IfMatch): void {
  if (ifMatch === undefined || ifMatch === '*' || ifMatch === row.revision) return;
  throw new AppError(
    'precondition-failed',
    `The entry is at revision ${row.revision}, not ${ifMatch}: somebody changed it. Read it again and repeat your change.`,
  );
}
