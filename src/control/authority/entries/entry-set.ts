import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import { isExpired } from '../../../core/identity/selectors.ts';
import type { SpiffeId } from '../../../core/identity/spiffe-id.ts';
import { isReserved, parseSpiffeId } from '../../../core/identity/spiffe-id.ts';
import { isTemplate, parseTemplate } from '../../../core/identity/template.ts';
import { Follower } from '../../store/follower.ts';
import type { Store } from '../../store/store.ts';
import type { Entry, EntryRow } from './entry.ts';
import { toEntry } from './entry.ts';
import type { EntryChanges, EntrySnapshot } from './entry-index.ts';
import { EntryIndex } from './entry-index.ts';
import { TOMBSTONE_LIFETIME_MS } from './tombstones.ts';

export { authorisedEntries } from './authorised.ts';
export type { EntryChanges, EntrySnapshot } from './entry-index.ts';

export interface EntrySetOptions {
  readonly store: Store;
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const RETRY_MS = 1000;
/** Timers take no longer delay; an entry that expires later is looked at again then. */
const MAX_DELAY_MS = 2 ** 31 - 1;
/** Well before tombstones go: who has heard nothing for so long reads everything. */
const MAX_SILENCE_MS = TOMBSTONE_LIFETIME_MS / 2;

/**
 * All entries in memory, as they are in the store: the one place from which identities are given out. It follows the
 * store's revision and reads only what has changed since, so a change costs the same however many entries there are.
 *
 * Level-based: several changes may come as one. What has expired, or is of another trust domain than ours (S9), is not
 * there; when an entry expires, that is a change. While the database is away, what is known stays in force.
 */
export class EntrySet {
  readonly #options: EntrySetOptions;
  readonly #index = new EntryIndex();
  readonly #current: WatchSource<EntrySnapshot>;
  /** Everything up to here has been read. */
  #revision = 0;
  #readAt: number;
  readonly #unsubscribe: () => void;
  readonly #follower: Follower;
  #cancelExpiry: () => void = () => undefined;

  /** Resolves when everything has been read once. */
  static async open(options: EntrySetOptions): Promise<EntrySet> {
    const set = new EntrySet(options);
    try {
      await set.#readAll();
      set.#expire();
      return set;
    } catch (error) {
      set.close();
      throw error;
    }
  }

  private constructor(options: EntrySetOptions) {
    this.#options = options;
    this.#readAt = options.clock.now();
    this.#current = new WatchSource(this.#index.snapshot(0, 'all'));
    this.#follower = new Follower({
      read: () => this.#readNews(),
      failed: (err) => options.logger.warn({ err }, 'cannot read entries; what is known stays in force'),
      retryMs: RETRY_MS,
      clock: options.clock,
    });
    this.#unsubscribe = options.store.revision.subscribe(() => void this.#follower.follow());
  }

  get current(): Watch<EntrySnapshot> {
    return this.#current;
  }

  /** Resolves once every change that this process had committed before the call is in `current`, or cannot be read. */
  async settled(): Promise<void> {
    await this.#follower.follow();
  }

  /**
   * What speaks for an identity, as `ofIdentity` of the newest value. Where there is nothing, it looks once more: the entry
   * may have been made in this moment.
   */
  async bySpiffeId(spiffeId: string): Promise<Entry | undefined> {
    const known = this.#current.current.ofIdentity(spiffeId);
    if (known !== undefined) return known;
    await this.settled();
    return this.#current.current.ofIdentity(spiffeId);
  }

  /** Idempotent. */
  close(): void {
    void this.#follower.close();
    this.#unsubscribe();
    this.#cancelExpiry();
  }

  async #readNews(): Promise<void> {
    if (this.#options.clock.now() - this.#readAt > MAX_SILENCE_MS) await this.#readAll();
    else await this.#readChanges();
    this.#expire();
  }

  async #readAll(): Promise<void> {
    const { store, clock } = this.#options;
    // Read before the rows, which are at least as new.
    const revision = store.revision.current;
    const now = clock.now();
    const rows = await store.db.selectFrom('entries').selectAll().orderBy('id').execute();
    if (this.#follower.closed) return;
    this.#index.clear();
    for (const row of rows) this.#take(row, now);
    this.#publish(revision, 'all');
  }

  async #readChanges(): Promise<void> {
    const { store, clock } = this.#options;
    const revision = store.revision.current;
    const now = clock.now();
    if (revision <= this.#revision) return;
    const after = this.#revision;
    const rows = await store.db.selectFrom('entries').selectAll().where('revision', '>', after).execute();
    // After the entries: an id is never used again, so one that is deleted meanwhile is deleted for good.
    const gone = await store.db.selectFrom('deleted_entries').select('id').where('revision', '>', after).execute();
    if (this.#follower.closed) return;

    const upserted: string[] = [];
    const removed: string[] = [];
    for (const row of rows) {
      const before = this.#index.byId(row.id);
      if (before?.revision === row.revision) continue;
      if (this.#take(row, now)) upserted.push(row.id);
      else if (before !== undefined) removed.push(row.id);
    }
    for (const { id } of gone) {
      if (this.#index.remove(id)) removed.push(id);
    }
    const kept = upserted.filter((id) => this.#index.byId(id) !== undefined);
    this.#publish(revision, { upserted: kept, removed });
  }

  /** Whether it is there now. */
  #take(row: EntryRow, now: number): boolean {
    const entry = this.#read(row);
    if (entry === undefined || isExpired(entry, now) || !isOwn(entry, this.#options.trustDomain)) {
      this.#index.remove(row.id);
      return false;
    }
    this.#index.put(entry);
    return true;
  }

  /** One that is damaged is for nobody, and must not keep us from hearing that others are gone. */
  #read(row: EntryRow): Entry | undefined {
    try {
      return toEntry(row);
    } catch (error) {
      this.#options.logger.error({ err: error, entry: row.id }, 'an entry in the store is damaged, and for nobody');
      return undefined;
    }
  }

  #publish(revision: number, changed: EntryChanges): void {
    this.#revision = Math.max(this.#revision, revision);
    this.#readAt = this.#options.clock.now();
    if (changed !== 'all' && changed.upserted.length === 0 && changed.removed.length === 0) return;
    this.#current.set(this.#index.snapshot(this.#revision, changed));
  }

  /** Drops what has expired, and comes back when the next one does. */
  #expire(): void {
    this.#cancelExpiry();
    if (this.#follower.closed) return;
    const { clock } = this.#options;
    const removed: string[] = [];
    for (let next = this.#index.nextToExpire(); next !== undefined; next = this.#index.nextToExpire()) {
      const wait = (next.expiresAt ?? 0) - clock.now();
      if (wait > 0) {
        this.#cancelExpiry = clock.after(Math.min(wait, MAX_DELAY_MS), () => this.#expire());
        break;
      }
      this.#index.remove(next.id);
      removed.push(next.id);
    }
    if (removed.length > 0) this.#current.set(this.#index.snapshot(this.#revision, { upserted: [], removed }));
  }
}

/**
 * S9. What was written under another trust domain, or damaged, is for nobody; nor is what would make a workload an agent, or
 * the trust domain itself, however it came into the store.
 */
function isOwn(entry: Entry, trustDomain: string): boolean {
  try {
    const own = isTemplate(entry.spiffeId) ? ownOfTemplate(entry.spiffeId) : parseSpiffeId(entry.spiffeId);
    return (
      own.trustDomain === trustDomain &&
      own.path !== '' &&
      !isReserved(own) &&
      (entry.parentId === null || parseSpiffeId(entry.parentId).trustDomain === trustDomain)
    );
  } catch {
    return false;
  }
}

/** With the first segment of its path, which is literal: that is where reserved names begin. */
function ownOfTemplate(text: string): SpiffeId {
  const { trustDomain, segments } = parseTemplate(text);
  return { trustDomain, path: `/${segments[0]?.prefix ?? ''}/`, uri: text };
}
