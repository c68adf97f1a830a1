import type { Kysely } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { Tables } from './tables.ts';

/** How long another replica's change can stay unseen where the database cannot notify. */
const POLL_INTERVAL_MS = 500;

/** What makes other replicas look before their next poll; a lost notification costs one poll interval, nothing else. */
export interface Notifier {
  notify(): void;
  close(): Promise<void>;
}

export interface FeedOptions {
  readonly db: Kysely<Tables>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Absent where the database has none. */
  readonly notifier?: (onChange: () => void) => Notifier;
}

/**
 * The revision of the latest committed change, by whichever replica. It never goes back, and it is level-based: whoever
 * follows it reads the state again and sees everything up to the revision, and maybe more.
 */
export class RevisionFeed {
  readonly #db: Kysely<Tables>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #revision: WatchSource<number>;
  readonly #notifier: Notifier | undefined;
  #cancelTimer: () => void = () => undefined;
  #looking: Promise<void> | undefined;
  #lookAgain = false;
  #closed = false;

  static async start(options: FeedOptions): Promise<RevisionFeed> {
    return new RevisionFeed(options, await readHead(options.db));
  }

  private constructor(options: FeedOptions, head: number) {
    this.#db = options.db;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#revision = new WatchSource(head);
    this.#notifier = options.notifier?.(() => void this.look());
    this.#schedule();
  }

  get revision(): Watch<number> {
    return this.#revision;
  }

  /** This process has committed `revision`. */
  committed(revision: number): void {
    this.#advance(revision);
    this.#notifier?.notify();
  }

  /** Looks for changes now; calls while it looks are served by one more look. Never throws: a failure is logged. */
  look(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#looking !== undefined) {
      this.#lookAgain = true;
      return this.#looking;
    }
    this.#looking = this.#lookUntilSettled();
    return this.#looking;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTimer();
    await this.#notifier?.close();
    await this.#looking;
  }

  async #lookUntilSettled(): Promise<void> {
    do {
      this.#lookAgain = false;
      try {
        this.#advance(await readHead(this.#db));
      } catch (error) {
        if (!this.#closed) this.#logger.warn({ err: error }, 'cannot look for changes by other replicas');
      }
    } while (this.#lookAgain && !this.#closed);
    // In the same breath as the check above: nothing can ask for another look in between.
    this.#looking = undefined;
  }

  #advance(revision: number): void {
    if (!this.#closed && revision > this.#revision.current) this.#revision.set(revision);
  }

  #schedule(): void {
    this.#cancelTimer = this.#clock.after(POLL_INTERVAL_MS, () => {
      void this.look().then(() => {
        if (!this.#closed) this.#schedule();
      });
    });
  }
}

async function readHead(db: Kysely<Tables>): Promise<number> {
  const row = await db.selectFrom('feed').select('head').where('id', '=', 1).executeTakeFirstOrThrow();
  return row.head;
}
