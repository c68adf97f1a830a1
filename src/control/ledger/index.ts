import { Backoff } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { isAbort } from '../../base/tasks.ts';
import { WatchSource } from '../../base/watch.ts';
import type { AdminRecord } from '../../core/audit/admin-event.ts';
import type { AuditRecord, IdentityRecord } from '../../core/audit/event.ts';
import type { AdminQuery, AuditQuery, IdentityQuery } from '../../core/audit/query.ts';
import { matches, matchesAdmin, matchesIdentity } from '../../core/audit/query.ts';
import type { AuditNotesTable } from '../store/audit-tables.ts';
import type { RevisedPage } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import { toAdminRecord } from './admin-rows.ts';
import { findAdmin, searchAdmins } from './admin-search.ts';
import { CLEARING, clearIndex } from './clear-index.ts';
import type { Heard } from './heard.ts';
import { toIdentityRecord } from './identity-rows.ts';
import { findIdentity, searchIdentities } from './identity-search.ts';
import type { IndexRows } from './index-batch.ts';
import { addRows, countRows, noRows } from './index-batch.ts';
import { chunks, insertRows } from './insert-rows.ts';
import type { Ledger } from './ledger.ts';
import { findCalls, findRecord, searchRecords } from './search.ts';
import type { TailItem } from './tail.ts';
import { Tail } from './tail.ts';

export interface AuditIndexOptions {
  readonly store: Store;
  readonly ledger: Pick<Ledger, 'read' | 'size'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Batches that the published checkpoint of the log covers: their events are shown as sealed. Default: none. */
  readonly sealedBelow?: () => number;
}

export interface IndexState {
  /** Batches that are in it, of those in the ledger. */
  readonly indexed: number;
  readonly batches: number;
  readonly rebuilding: boolean;
}

/** Rows that share a transaction, at most by about one batch more. */
const ROWS_PER_TRANSACTION = 4096;
const CALLS_PER_STATEMENT = 500;

const warnings: Readonly<Record<AuditNotesTable['kind'], string>> = {
  gap: 'a hole in the record of a sidecar',
  unreadable: 'a hole in the record of a sidecar',
  foreign: 'a sidecar has recorded what is not its to record; it is not shown',
  'repeated-call': 'a sidecar has recorded a call twice, with contradictions; the first record is shown',
  clock: 'a sidecar dates calls in the future; they are listed under the time of receipt',
};

/**
 * The searchable view of the ledger: a follower. Rows and the position in the ledger change in one transaction, so that it
 * has every event once however it ends. It can be thrown away at any time, and is then built again from the ledger.
 *
 * A sidecar is trusted with the calls of its own service only. What it says beyond that is in the ledger, but not among the
 * records; it becomes a note (`audit_notes`) and a warning:
 * - A decision whose destination is not the verified SPIFFE ID that shipped it is no record ('foreign'), nor is an identity or
 *   administrative event that no control plane has recorded.
 * - Of a call that is decided more than once, the first record stays; any that is not the same event is 'repeated-call'.
 * - A decision dated more than five minutes after it was received has the time of receipt as its time, so that it does not
 *   stay on top of what comes later; what the sidecar claimed is in a note of kind 'clock', one per batch. Times in the past
 *   are taken as they are: a spool may be hours old.
 */
export class AuditIndex {
  readonly #options: AuditIndexOptions;
  readonly #tail = new Tail(matches);
  readonly #identityTail = new Tail(matchesIdentity);
  readonly #adminTail = new Tail(matchesAdmin);
  readonly #heard: Heard = new Map();
  /** How often somebody asked for it to be built again. */
  readonly #asked = new WatchSource(0);
  #next: number;
  /** Built again up to here, nothing is news: it was shown before. */
  #until: number;
  /** What it has is thrown away, or will be. */
  #isDoomed: boolean;
  /** Whether `#next` is what the database has: not after a failure, which may have come behind the commit. */
  #isCertain = true;

  private constructor(options: AuditIndexOptions, next: number, until: number) {
    this.#options = options;
    this.#next = next;
    this.#until = until;
    this.#isDoomed = next === CLEARING;
  }

  static async open(options: AuditIndexOptions): Promise<AuditIndex> {
    const { store, ledger, logger } = options;
    const next = await readCursor(store);
    if (next !== CLEARING && next <= ledger.size.current) return new AuditIndex(options, next, 0);
    if (next !== CLEARING)
      logger.error(
        { indexed: next, ledger: ledger.size.current },
        'the index is ahead of the ledger; it is built again',
      );
    await setCursor(store, CLEARING);
    return new AuditIndex(options, CLEARING, ledger.size.current);
  }

  /**
   * Throws the index away, and lets it be built again from the ledger while everything goes on. Until then searches find what
   * is there again, which `state` says. Resolves when it is decided, durably; a restart goes on with it.
   */
  async rebuild(): Promise<void> {
    await setCursor(this.#options.store, CLEARING);
    this.#until = this.#options.ledger.size.current;
    this.#isCertain = false;
    this.#isDoomed = true;
    this.#asked.set(this.#asked.current + 1);
  }

  /** How far it has come. `rebuilding`: up to `until` it was there before, and is not all there again. */
  get state(): IndexState {
    const batches = this.#options.ledger.size.current;
    const indexed = this.#isDoomed ? 0 : this.position;
    return { indexed: Math.min(indexed, batches), batches, rebuilding: indexed < this.#until };
  }

  /** Number of the batch that is indexed next: equal to the ledger's size when everything is indexed. */
  get position(): number {
    return Math.max(this.#next, 0);
  }

  /**
   * Until when everything that a sidecar has recorded is in here: milliseconds since the epoch; null for one of which this process
   * has indexed nothing yet. One that is connected records something every few seconds, if only that nothing happened.
   */
  recordedUntil(instanceId: string): number | null {
    return this.#heard.get(instanceId) ?? null;
  }

  /** Follows the ledger until `signal` aborts. What fails is logged and tried again, with growing delays. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, ledger, logger } = this.#options;
    const backoff = new Backoff();
    while (!signal.aborted) {
      const asked = this.#asked.version;
      try {
        const { version } = ledger.size;
        await this.#catchUp(signal);
        backoff.reset();
        await this.#news(version, asked, signal);
      } catch (error) {
        if (isAbort(error, signal)) return;
        this.#isCertain = false;
        // What was being stored is thrown away anyway.
        if (asked !== this.#asked.version) continue;
        logger.error({ err: error, leaf: this.#next }, 'the audit index cannot follow the ledger');
        await sleep(clock, backoff.nextMs(), signal);
      }
    }
  }

  /** Newest first. Throws `invalid` for a limit out of range, `invalid-cursor` for one of another search, `cursor-expired`. */
  async search(query: AuditQuery): Promise<RevisedPage<AuditRecord>> {
    const { db, cursors, revision } = this.#options.store;
    const seen = revision.current;
    return { ...(await searchRecords(db, cursors, query, this.#sealedBelow)), revision: seen };
  }

  /** Throws `not-found`. */
  get(id: string): Promise<AuditRecord> {
    return findRecord(this.#options.store.db, id, this.#sealedBelow);
  }

  /**
   * Live: every matching record that is indexed from now on, and again when its call is completed (once, when both arrive
   * together). A slow consumer loses the oldest records and is told how many. Ends when `signal` aborts.
   */
  tail(query: AuditQuery, signal: AbortSignal): AsyncIterable<TailItem<AuditRecord>> {
    return this.#tail.follow(query, signal);
  }

  /** Who got which identity, newest first. Throws as `search`. */
  async searchIdentities(query: IdentityQuery): Promise<RevisedPage<IdentityRecord>> {
    const { db, cursors, revision } = this.#options.store;
    const seen = revision.current;
    return { ...(await searchIdentities(db, cursors, query, this.#sealedBelow)), revision: seen };
  }

  /** Throws `not-found`. */
  getIdentity(id: string): Promise<IdentityRecord> {
    return findIdentity(this.#options.store.db, id, this.#sealedBelow);
  }

  /** As `tail`, of identity events: each comes once. */
  tailIdentities(query: IdentityQuery, signal: AbortSignal): AsyncIterable<TailItem<IdentityRecord>> {
    return this.#identityTail.follow(query, signal);
  }

  /** Who did what to the control plane, newest first. Throws as `search`. */
  async searchAdmins(query: AdminQuery): Promise<RevisedPage<AdminRecord>> {
    const { db, cursors, revision } = this.#options.store;
    const seen = revision.current;
    return { ...(await searchAdmins(db, cursors, query, this.#sealedBelow)), revision: seen };
  }

  /** Throws `not-found`. */
  getAdmin(id: string): Promise<AdminRecord> {
    return findAdmin(this.#options.store.db, id, this.#sealedBelow);
  }

  /** As `tail`, of administrative events: each comes once; what was begun comes too, unless its end is there already. */
  tailAdmins(query: AdminQuery, signal: AbortSignal): AsyncIterable<TailItem<AdminRecord>> {
    return this.#adminTail.follow(query, signal);
  }

  get #sealedBelow(): number {
    return this.#options.sealedBelow?.() ?? 0;
  }

  /** The ledger has grown, or somebody wants the index to be built again. */
  async #news(size: number, asked: number, signal: AbortSignal): Promise<void> {
    const enough = new AbortController();
    const until = AbortSignal.any([signal, enough.signal]);
    const all = [this.#options.ledger.size.next(size, until), this.#asked.next(asked, until)];
    try {
      await Promise.race(all);
    } finally {
      enough.abort();
      await Promise.allSettled(all);
    }
  }

  async #clear(signal: AbortSignal): Promise<void> {
    const { store, logger } = this.#options;
    logger.warn({ until: this.#until }, 'the audit index is thrown away, and built again from the ledger');
    await clearIndex(store, signal);
    await setCursor(store, 0);
    this.#next = 0;
    this.#isDoomed = false;
  }

  async #catchUp(signal: AbortSignal): Promise<void> {
    if (!this.#isCertain) this.#next = await readCursor(this.#options.store);
    this.#isCertain = true;
    if (this.#next === CLEARING) await this.#clear(signal);
    while (!signal.aborted && this.#isCertain && this.#next < this.#options.ledger.size.current) {
      const rows = noRows();
      const heard: Heard = new Map();
      let to = this.#next;
      for await (const batch of this.#options.ledger.read(this.#next)) {
        addRows(rows, batch, heard);
        to = batch.leaf + 1;
        if (countRows(rows) >= ROWS_PER_TRANSACTION) break;
      }
      if (to === this.#next) return;
      const isNews = to > this.#until;
      const added = await this.#store(rows, to);
      for (const [sidecar, until] of heard) this.#heard.set(sidecar, until);
      for (const { sidecar, epoch, seq, leaf, kind, detail } of added.notes) {
        this.#options.logger.warn({ sidecar, epoch, seq, leaf, kind, detail }, warnings[kind]);
      }
      if (!isNews) continue;
      if (this.#tail.isWatched) this.#tail.publish(await this.#touched(added));
      if (this.#identityTail.isWatched)
        this.#identityTail.publish(added.identities.map((row) => toIdentityRecord(row, this.#sealedBelow)));
      if (this.#adminTail.isWatched)
        this.#adminTail.publish(added.admins.map((row) => toAdminRecord(row, this.#sealedBelow)));
    }
  }

  /** Returns what is new of `rows`, and what was found about them. */
  async #store(rows: IndexRows, to: number): Promise<IndexRows> {
    const { store } = this.#options;
    const from = this.#next;
    const added = await store.transaction(async (trx) => {
      const moved = await trx
        .updateTable('audit_cursor')
        .set({ leaf: to })
        .where('id', '=', 1)
        .where('leaf', '=', from)
        .executeTakeFirst();
      if (moved.numUpdatedRows !== 1n) throw new AppError('conflict', 'Somebody else is writing the audit index.');
      return insertRows(trx, rows);
    });
    this.#next = to;
    return added;
  }

  /** The records that the rows concern, as they are now. */
  async #touched(rows: IndexRows): Promise<readonly AuditRecord[]> {
    const bySidecar = new Map<string, Set<string>>();
    for (const { sidecar, call } of [...rows.records, ...rows.completions]) {
      const calls = bySidecar.get(sidecar) ?? new Set<string>();
      bySidecar.set(sidecar, calls.add(call));
    }
    const found: AuditRecord[] = [];
    for (const [sidecar, calls] of bySidecar) {
      for (const some of chunks([...calls], CALLS_PER_STATEMENT)) {
        found.push(...(await findCalls(this.#options.store.db, sidecar, some, this.#sealedBelow)));
      }
    }
    return found;
  }
}

async function readCursor(store: Store): Promise<number> {
  const row = await store.db.selectFrom('audit_cursor').select('leaf').where('id', '=', 1).executeTakeFirst();
  if (row === undefined)
    throw new AppError('incompatible-data', 'The audit index has lost its position: restore the database.');
  return row.leaf;
}

async function setCursor(store: Store, leaf: number): Promise<void> {
  await store.transaction((trx) => trx.updateTable('audit_cursor').set({ leaf }).where('id', '=', 1).execute());
}
