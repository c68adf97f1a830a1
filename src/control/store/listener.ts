import pg from 'pg';
import { Backoff } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import { isAway } from './failures.ts';
import type { Notifier } from './feed.ts';
import { connectionOptions } from './postgres.ts';

/** Notifications carry nothing: whoever hears one reads the revision. */
const CHANNEL = 'writ_revision';

export interface ListenerOptions {
  readonly url: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onChange: () => void;
}

/**
 * LISTEN/NOTIFY on a connection of its own, which is opened again whenever it breaks. Gives up for good where the database
 * speaks the protocol but does not know LISTEN (CockroachDB): polling is then all there is.
 */
export class PostgresListener implements Notifier {
  readonly #options: ListenerOptions;
  readonly #backoff = new Backoff();
  #client: pg.Client | undefined;
  #connecting: Promise<void> | undefined;
  #unsaid = false;
  #saying: Promise<void> | undefined;
  #cancelTimer: () => void = () => undefined;
  #closed = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#connect();
  }

  /** Tells the other replicas. Best effort, in the background; one notification at a time, for whatever came meanwhile. */
  notify(): void {
    this.#unsaid = true;
    this.#saying ??= this.#say();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTimer();
    await this.#connecting;
    const client = this.#client;
    this.#client = undefined;
    await end(client);
    await this.#saying;
  }

  async #say(): Promise<void> {
    // Never done before `#saying` is assigned.
    await Promise.resolve();
    while (this.#unsaid && this.#client !== undefined) {
      this.#unsaid = false;
      try {
        await this.#client.query(`notify ${CHANNEL}`);
      } catch (error) {
        this.#options.logger.debug({ err: error }, 'cannot notify other replicas; they will poll');
      }
    }
    this.#saying = undefined;
  }

  #connect(): void {
    this.#connecting = this.#listen().finally(() => {
      this.#connecting = undefined;
    });
  }

  async #listen(): Promise<void> {
    const client = new pg.Client(connectionOptions(this.#options.url));
    let broken = false;
    // Without a listener, an error event would end the process.
    client.on('error', () => {
      broken = true;
    });
    try {
      await client.connect();
      client.on('notification', this.#options.onChange);
      await client.query(`listen ${CHANNEL}`);
    } catch (error) {
      await end(client);
      this.#failed(error);
      return;
    }
    if (this.#closed || broken) {
      await end(client);
      this.#reconnectLater();
      return;
    }
    client.once('end', () => this.#lost(client));
    this.#client = client;
    this.#backoff.reset();
    // Whatever was committed while nobody listened.
    this.#options.onChange();
    if (this.#unsaid) this.notify();
  }

  #lost(client: pg.Client): void {
    if (this.#client === client) this.#client = undefined;
    this.#reconnectLater();
  }

  #failed(error: unknown): void {
    if (this.#closed) return;
    if (isAway(error)) {
      this.#options.logger.warn({ err: error }, 'cannot listen for changes by other replicas; polling meanwhile');
      this.#reconnectLater();
    } else {
      this.#options.logger.info({ err: error }, 'the database does not offer LISTEN; polling for changes');
    }
  }

  #reconnectLater(): void {
    if (this.#closed) return;
    this.#cancelTimer();
    this.#cancelTimer = this.#options.clock.after(this.#backoff.nextMs(), () => this.#connect());
  }
}

async function end(client: pg.Client | undefined): Promise<void> {
  await client?.end().catch(() => undefined);
}
