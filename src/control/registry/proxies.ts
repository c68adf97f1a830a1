import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { Service } from '../../core/policy/snapshot.ts';
import { compareText } from '../store/compare.ts';
import type { Store } from '../store/store.ts';
import type { Acknowledgements, ProxyConnection, SyncState } from './connection.ts';
import { Connection } from './connection.ts';
import type { InboundEndpoint, ProxyHello } from './hello.ts';
import { checkHello } from './hello.ts';
import type { ProxyRow } from './rows.ts';
import { ProxyRows } from './rows.ts';
import { servicesOf } from './services.ts';

export type { ProxyConnection } from './connection.ts';
export type { InboundEndpoint, ProxyHello } from './hello.ts';

export interface ProxyStatus {
  readonly instanceId: string;
  readonly spiffeId: string;
  readonly version: string;
  /** To this control plane. */
  readonly connected: boolean;
  readonly state: SyncState | 'disconnected';
  /** Its endpoints are part of the mesh: it has not said goodbye, and was not away for a minute. */
  readonly serving: boolean;
  /** Revision of the policies that it should be at. */
  readonly desiredRevision: number;
  /** The policy change of which it should have the candidate; null: the policies as they are. */
  readonly desiredChange: number | null;
  /** Since when it does not have in force what it should, as far as we know; null while it does. */
  readonly staleSince: number | null;
  /** Revision that it was last known to have in force; null when it has not said so since this control plane started. */
  readonly acknowledgedRevision: number | null;
  readonly acknowledgedAt: number | null;
  readonly connectedSince: number | null;
  readonly lastSeen: number;
  /** host:port, as announced. Part of the mesh until it says goodbye or stays away for a minute. */
  readonly endpoints: readonly string[];
  /** Of its application, by its own account. */
  readonly ports?: readonly Pick<InboundEndpoint, 'applicationPort' | 'protocol'>[];
  /** Why it rejected the last snapshot. */
  readonly lastError: string | null;
  /**
   * Of the quarantine that it obeys, as it said last; null while it has not said so to this control plane: it is not there, is
   * of a version that knows of none, or nobody has ever been in quarantine.
   */
  readonly quarantineRevision?: number | null;
}

export interface ProxiesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Whatever knows the revision of the policies. */
  readonly published: Watch<{ readonly revision: number }>;
  /** What one sidecar should have. Default: what is published, and no candidate. */
  readonly desired?: (instanceId: string) => { readonly revision: number; readonly change: number | null };
}

/** How often those that are connected are recorded as seen, and those that are not are looked over. */
const TICK_MS = 10_000;
/** An endpoint whose sidecar has been away this long leaves the mesh. */
const AWAY_MS = 60_000;
/** A sidecar that has been away this long is not listed any more. */
const FORGET_MS = 24 * 60 * 60 * 1000;

interface Known {
  readonly row: ProxyRow;
  /** When we last learnt that some replica has seen it, by our own clock: clocks of replicas need not agree. */
  readonly heardAt: number;
  /** Of its last stream to us that has ended. */
  readonly acknowledgements: Acknowledgements | undefined;
  /** Of the trust bundle that it had in force, as some replica has stored it. */
  readonly bundleSequence: number | null;
}

/**
 * Which sidecars there are, what each has in force, and the services that they make up.
 *
 * Endpoints are stored, so a control plane that restarts does not empty the mesh: time during which it was not up, or could
 * not read the database, does not count as a sidecar's absence.
 *
 * Not solved: a sidecar that is connected to another replica is listed here as disconnected, although recently seen.
 */
export class Proxies {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #desired: NonNullable<ProxiesOptions['desired']>;
  readonly #rows: ProxyRows;
  readonly #services: WatchSource<readonly Service[]>;
  readonly #known = new Map<string, Known>();
  readonly #connections = new Map<string, Connection>();
  readonly #unsubscribe: () => void;
  #revision = 0;
  #loading: Promise<void> | undefined;
  #loadAgain = false;
  #closed = false;

  /** Reads what is stored, so that `services` is complete from the start. */
  static async open(options: ProxiesOptions): Promise<Proxies> {
    const rows = new ProxyRows(options.store);
    const proxies = new Proxies(options, rows);
    try {
      await proxies.#load();
    } catch (error) {
      await proxies.close();
      throw error;
    }
    return proxies;
  }

  private constructor(options: ProxiesOptions, rows: ProxyRows) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    const { published } = options;
    this.#desired = options.desired ?? (() => ({ revision: published.current.revision, change: null }));
    this.#rows = rows;
    this.#services = new WatchSource<readonly Service[]>([]);
    this.#unsubscribe = options.store.revision.subscribe(() => {
      // The next tick tries again.
      this.#loadSoon().catch((error: unknown) => this.#logger.warn({ err: error }, 'cannot read the sidecars'));
    });
  }

  /** The services that can be called now. Set only when something in it changes. */
  get services(): Watch<readonly Service[]> {
    return this.#services;
  }

  /**
   * A sidecar has connected: its endpoints are part of the mesh when this resolves. A newer stream of the same instance takes
   * over from an older one. Throws `invalid`.
   */
  async connect(hello: ProxyHello): Promise<ProxyConnection> {
    checkHello(hello);
    const connection = new Connection(this.#clock, hello, {
      bundle: (sequence) => this.#storeBundle(connection, sequence),
      close: (goodbye) => this.#disconnect(connection, goodbye),
    });
    // Before anything is awaited: from now on the older stream cannot take the endpoints away.
    this.#connections.set(hello.instanceId, connection);
    try {
      await this.#rows.register(hello, this.#clock.now());
      await this.#loadSoon();
    } catch (error) {
      if (this.#isCurrent(connection)) this.#connections.delete(hello.instanceId);
      throw error;
    }
    return connection;
  }

  /** Those that are connected and those that were seen within a day; by identity, then instance. */
  list(): readonly ProxyStatus[] {
    const byIdentity = (a: ProxyStatus, b: ProxyStatus) =>
      compareText(a.spiffeId, b.spiffeId) || compareText(a.instanceId, b.instanceId);
    return [...this.#known.values()].map((known) => this.#statusOf(known)).sort(byIdentity);
  }

  /**
   * Names of the sidecars that do not have a trust bundle of this sequence, or a later one, in force: of those that are
   * connected, here or to another replica, or were within a minute.
   */
  missing(bundleSequence: number): readonly string[] {
    return [...this.#known]
      .filter(([instanceId, known]) => this.#isBehind(instanceId, known, bundleSequence))
      .map(([instanceId, { row }]) => `${row.spiffeId} (instance ${instanceId})`)
      .sort(compareText);
  }

  /** Keeps record of who is there, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(this.#clock, TICK_MS, signal);
      if (signal.aborted) return;
      try {
        await this.#tick();
      } catch (error) {
        this.#logger.warn({ err: error }, 'cannot keep record of the sidecars; none is given up meanwhile');
        this.#forgiveAll();
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    await this.#loading?.catch(() => undefined);
  }

  async #tick(): Promise<void> {
    const now = this.#clock.now();
    await this.#loadSoon();
    await this.#rows.seen([...this.#connections.keys()], now);
    this.#hear(await this.#rows.sightings());
    await this.#restore();
    for (const [instanceId, { row, heardAt }] of [...this.#known]) {
      if (this.#connections.has(instanceId)) continue;
      if (row.serving && now - heardAt >= AWAY_MS) await this.#rows.expire(instanceId, row.lastSeen);
      else if (!row.serving && now - row.lastSeen > FORGET_MS) await this.#forget(instanceId, row.lastSeen);
    }
  }

  /** Another replica may have given up a sidecar of ours, while we could not reach the database for a minute. */
  async #restore(): Promise<void> {
    for (const [instanceId, connection] of [...this.#connections]) {
      if (this.#known.get(instanceId)?.row.serving === true || !this.#isCurrent(connection)) continue;
      await this.#rows.register(connection.hello, this.#clock.now());
    }
  }

  #isBehind(instanceId: string, known: Known, sequence: number): boolean {
    const connection = this.#connections.get(instanceId);
    if (connection !== undefined) return (connection.acknowledgements.bundleSequence ?? -1) < sequence;
    const isAround = known.row.serving && this.#clock.now() - known.heardAt < AWAY_MS;
    return isAround && (known.bundleSequence ?? -1) < sequence;
  }

  #storeBundle(connection: Connection, sequence: number): void {
    const { instanceId } = connection.hello;
    const known = this.#known.get(instanceId);
    if (known !== undefined) this.#known.set(instanceId, { ...known, bundleSequence: sequence });
    this.#rows
      .acknowledged(instanceId, sequence)
      .catch((error: unknown) => this.#logger.warn({ err: error, instanceId }, 'cannot store which bundle it has'));
  }

  #hear(sightings: Awaited<ReturnType<ProxyRows['sightings']>>): void {
    const now = this.#clock.now();
    for (const [instanceId, known] of this.#known) {
      const seen = sightings.get(instanceId);
      if (seen === undefined) {
        if (!this.#connections.has(instanceId)) this.#known.delete(instanceId);
      } else if (seen.lastSeen !== known.row.lastSeen || seen.bundleSequence !== known.bundleSequence) {
        const { lastSeen, bundleSequence } = seen;
        const heardAt = lastSeen === known.row.lastSeen ? known.heardAt : now;
        this.#known.set(instanceId, { ...known, row: { ...known.row, lastSeen }, heardAt, bundleSequence });
      }
    }
  }

  /** We could not have heard of anybody. */
  #forgiveAll(): void {
    const heardAt = this.#clock.now();
    for (const [instanceId, known] of this.#known) this.#known.set(instanceId, { ...known, heardAt });
  }

  async #forget(instanceId: string, lastSeen: number): Promise<void> {
    await this.#rows.forget(instanceId, lastSeen);
    if (!this.#connections.has(instanceId)) this.#known.delete(instanceId);
  }

  async #disconnect(connection: Connection, goodbye: boolean): Promise<void> {
    if (!this.#isCurrent(connection)) return;
    const { instanceId } = connection.hello;
    const now = this.#clock.now();
    const known = this.#known.get(instanceId);
    if (known !== undefined) {
      const { acknowledgements } = connection;
      this.#known.set(instanceId, { ...known, row: { ...known.row, lastSeen: now }, heardAt: now, acknowledgements });
    }
    if (goodbye) {
      try {
        await this.#rows.leave(instanceId, now, () => this.#isCurrent(connection));
      } finally {
        if (this.#isCurrent(connection)) this.#connections.delete(instanceId);
      }
      await this.#loadSoon();
    } else {
      this.#connections.delete(instanceId);
      await this.#rows.seenLast(instanceId, now);
    }
  }

  #isCurrent(connection: Connection): boolean {
    return this.#connections.get(connection.hello.instanceId) === connection;
  }

  /** Resolves when everything that was committed before the call is known here. */
  #loadSoon(): Promise<void> {
    if (this.#loading !== undefined) {
      this.#loadAgain = true;
      return this.#loading;
    }
    this.#loading = this.#loadUntilSettled();
    return this.#loading;
  }

  async #loadUntilSettled(): Promise<void> {
    try {
      do {
        this.#loadAgain = false;
        await this.#load();
      } while (this.#loadAgain && !this.#closed);
    } finally {
      // In the same breath as the check above: a change in between would be missed.
      this.#loading = undefined;
    }
  }

  async #load(): Promise<void> {
    const rows = await this.#rows.changedAfter(this.#revision);
    const now = this.#clock.now();
    for (const row of rows) {
      this.#revision = Math.max(this.#revision, row.revision);
      const { acknowledgements, bundleSequence = row.bundleSequence } = this.#known.get(row.instanceId) ?? {};
      this.#known.set(row.instanceId, { row, heardAt: now, acknowledgements, bundleSequence });
    }
    if (rows.length > 0) this.#publishServices();
  }

  #publishServices(): void {
    const serving = [...this.#known.values()].map((known) => known.row).filter((row) => row.serving);
    const services = servicesOf(serving);
    if (JSON.stringify(services) !== JSON.stringify(this.#services.current)) this.#services.set(services);
  }

  #statusOf({ row, acknowledgements: earlier }: Known): ProxyStatus {
    const connection = this.#connections.get(row.instanceId);
    const acknowledgements = connection?.acknowledgements ?? earlier;
    const desired = this.#desired(row.instanceId);
    const isBehind = (acknowledgements?.revision ?? -1) < desired.revision;
    // While it is away, nothing can have reached it since it was seen last.
    const away = isBehind ? row.lastSeen : null;
    return Object.freeze({
      instanceId: row.instanceId,
      spiffeId: row.spiffeId,
      version: row.version,
      connected: connection !== undefined,
      state: connection?.acknowledgements.state ?? 'disconnected',
      serving: row.serving,
      desiredRevision: desired.revision,
      desiredChange: desired.change,
      staleSince: connection === undefined ? away : staleSince(connection),
      acknowledgedRevision: acknowledgements?.revision ?? null,
      acknowledgedAt: acknowledgements?.at ?? null,
      connectedSince: connection?.since ?? null,
      lastSeen: connection === undefined ? row.lastSeen : this.#clock.now(),
      endpoints: row.inbound.map((endpoint) => endpoint.address),
      ports: row.inbound.map(({ applicationPort, protocol }) => ({ applicationPort, protocol })),
      lastError: acknowledgements?.error ?? null,
      quarantineRevision: acknowledgements?.quarantineRevision ?? null,
    });
  }
}

function staleSince({ acknowledgements, since }: Connection): number | null {
  return acknowledgements.revision === null ? since : acknowledgements.behindSince;
}
