import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { Quarantine } from '../../core/policy/snapshot.ts';
import { Follower } from '../store/follower.ts';
import type { Store } from '../store/store.ts';

/** What whoever issues identities asks before each. */
export interface QuarantineGate {
  /** Throws `forbidden` for an identity that is in quarantine. */
  refuse(spiffeId: string): void;
}

export interface InQuarantineOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
}

const RETRY_MS = 250;

/**
 * Who is in quarantine now, in memory on every replica: what sidecars are sent, and what stands between everybody and the keys
 * of the authority. While the store cannot be read, the list that is known stays in force.
 *
 * Another replica's change is known here when the store's revision tells: at once where the database notifies, else within half
 * a second. Sidecars refuse by the SPIFFE ID, so a certificate that a replica issues in between opens nothing.
 */
export class InQuarantine implements QuarantineGate {
  readonly #o: InQuarantineOptions;
  readonly #current: WatchSource<Quarantine>;
  readonly #unsubscribe: () => void;
  #ids: ReadonlySet<string> = new Set();
  readonly #follower: Follower;

  /** Resolves when the list has been read once: nothing may be issued before. */
  static async open(o: InQuarantineOptions): Promise<InQuarantine> {
    const list = new InQuarantine(o);
    try {
      await list.#read();
      return list;
    } catch (error) {
      list.close();
      throw error;
    }
  }

  private constructor(o: InQuarantineOptions) {
    this.#o = o;
    this.#current = new WatchSource<Quarantine>(Object.freeze({ revision: 0, spiffeIds: Object.freeze([]) }));
    this.#follower = new Follower({
      read: () => this.#read(),
      failed: (err) =>
        o.logger.error({ err }, 'cannot read who is in quarantine; the list that is known stays in force'),
      retryMs: RETRY_MS,
      clock: o.clock,
    });
    this.#unsubscribe = o.store.revision.subscribe(() => void this.#follower.follow());
  }

  /** Set only when the list changes. Revision 0: there has never been anybody in it. */
  get current(): Watch<Quarantine> {
    return this.#current;
  }

  has(spiffeId: string): boolean {
    return this.#ids.has(spiffeId);
  }

  refuse(spiffeId: string): void {
    if (!this.#ids.has(spiffeId)) return;
    // Not why: whoever asks is the one that nobody trusts any more.
    throw new AppError(
      'forbidden',
      `${spiffeId} is in quarantine: it gets no certificate and no token until an operator releases it.`,
    );
  }

  /** Resolves once every change that was committed before the call is in `current`, or cannot be read. */
  async settled(): Promise<void> {
    await this.#follower.follow();
  }

  /** Idempotent. */
  close(): void {
    void this.#follower.close();
    this.#unsubscribe();
  }

  async #read(): Promise<void> {
    const { db } = this.#o.store;
    const newest = await db
      .selectFrom('quarantines')
      .select('revision')
      .orderBy('revision', 'desc')
      .limit(1)
      .executeTakeFirst();
    if (newest === undefined || newest.revision === this.#current.current.revision) return;
    // Read after the revision: there may be more than it knew of. That a list with fewer in it comes with an older revision
    // does no harm; one with more in it must not.
    const rows = await db
      .selectFrom('quarantines')
      .select(['spiffe_id', 'revision'])
      .where('released_at', 'is', null)
      .orderBy('spiffe_id')
      .execute();
    const revision = rows.reduce((latest, row) => Math.max(latest, row.revision), newest.revision);
    const spiffeIds = rows.map((row) => row.spiffe_id);
    if (this.#follower.closed) return;
    this.#ids = new Set(spiffeIds);
    this.#current.set(Object.freeze({ revision, spiffeIds: Object.freeze(spiffeIds) }));
  }
}
