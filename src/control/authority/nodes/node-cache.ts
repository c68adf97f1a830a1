import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import type { Store } from '../../store/store.ts';
import type { Eviction, Node } from './node.ts';
import { isPassing } from './node.ts';
import type { NodeRows } from './node-rows.ts';

const RETRY_MS = 1000;

/**
 * All nodes and evictions in memory. They follow the revision of the store, and read only what has changed since; what could
 * not be read is read a second later, since it may be a ban.
 */
export class NodeCache {
  readonly #store: Pick<Store, 'revision'>;
  readonly #rows: Pick<NodeRows, 'byInstance' | 'changed'>;
  readonly #known = new Map<string, Node | Eviction>();
  readonly #changes = new WatchSource<number>(0);
  readonly #watchers = new Map<string, Set<() => void>>();
  readonly #lookups = new Map<string, Promise<void>>();
  readonly #clock: Clock;
  readonly #unsubscribe: () => void;
  readonly #follow: () => void;
  #cancelRetry: () => void = () => undefined;
  /** Everything up to here has been read. */
  #revision = -1;
  #loading: Promise<void> | undefined;
  #loadAgain = false;
  #closed = false;

  constructor(options: {
    readonly store: Pick<Store, 'revision'>;
    readonly rows: Pick<NodeRows, 'byInstance' | 'changed'>;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#rows = options.rows;
    this.#follow = () => {
      this.refresh().catch((error: unknown) => options.logger.warn({ err: error }, 'cannot read the nodes'));
    };
    this.#unsubscribe = options.store.revision.subscribe(this.#follow);
  }

  /** The revision of the store at which something has changed last. */
  get changes(): Watch<number> {
    return this.#changes;
  }

  get(instanceId: string): Node | Eviction | undefined {
    return this.#known.get(instanceId);
  }

  /** Calls `fn` after every change to this instance, until the returned function is called. */
  watch(instanceId: string, fn: () => void): () => void {
    const watchers = this.#watchers.get(instanceId) ?? new Set();
    this.#watchers.set(instanceId, watchers);
    // Wrapped, so that the same function given twice is two watchers.
    const own = () => fn();
    watchers.add(own);
    return () => {
      watchers.delete(own);
      if (watchers.size === 0 && this.#watchers.get(instanceId) === watchers) this.#watchers.delete(instanceId);
    };
  }

  /** Takes over what was read or written. Reads overtake each other: what has the higher revision is newer. */
  put(each: Node | Eviction): void {
    const before = this.#known.get(each.instanceId);
    if (before !== undefined && before.revision > each.revision) return;
    this.#known.set(each.instanceId, each);
    if (before?.revision !== each.revision || 'evicted' in each) this.#notify(each.instanceId);
  }

  /** Reads one instance from the store; once for all who ask at the same time. */
  async lookUp(instanceId: string): Promise<void> {
    const read = async () => {
      const found = await this.#rows.byInstance(instanceId);
      if (found !== undefined) this.put(found);
      else if (this.#known.delete(instanceId)) this.#notify(instanceId);
    };
    const running = this.#lookups.get(instanceId) ?? read().finally(() => this.#lookups.delete(instanceId));
    this.#lookups.set(instanceId, running);
    await running;
  }

  /** Resolves when everything that was committed before the call is known here. */
  refresh(): Promise<void> {
    if (this.#loading !== undefined) {
      this.#loadAgain = true;
      return this.#loading;
    }
    this.#loading = this.#loadUntilSettled();
    return this.#loading;
  }

  /** Forgets evictions that ended before one time, and nodes whose certificates did before another; see `NodeRows.prune`. */
  prune(evictionsEndedBefore: number, nodesExpiredBefore: number): void {
    const newest = new Map<string, number>();
    for (const each of this.#known.values()) {
      if ('evicted' in each) continue;
      newest.set(each.subject, Math.max(each.expiresAt, newest.get(each.subject) ?? 0));
    }
    for (const [instanceId, each] of this.#known) {
      const isOver =
        'evicted' in each || (isPassing(each) && each.expiresAt < (newest.get(each.subject) ?? 0))
          ? each.expiresAt < evictionsEndedBefore
          : !each.banned && each.expiresAt < nodesExpiredBefore;
      if (isOver) this.#known.delete(instanceId);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    this.#cancelRetry();
    await this.#loading?.catch(() => undefined);
  }

  #notify(instanceId: string): void {
    for (const fn of [...(this.#watchers.get(instanceId) ?? [])]) fn();
  }

  async #loadUntilSettled(): Promise<void> {
    this.#cancelRetry();
    try {
      do {
        this.#loadAgain = false;
        await this.#load();
      } while (this.#loadAgain && !this.#closed);
    } catch (error) {
      if (!this.#closed) this.#cancelRetry = this.#clock.after(RETRY_MS, this.#follow);
      throw error;
    } finally {
      // In the same breath as the check above: a change in between would be missed.
      this.#loading = undefined;
    }
  }

  async #load(): Promise<void> {
    const head = this.#store.revision.current;
    if (head <= this.#revision) return;
    const changed = await this.#rows.changed(this.#revision, head);
    this.#revision = head;
    for (const each of changed) this.put(each);
    if (changed.length > 0) this.#changes.set(head);
  }
}
