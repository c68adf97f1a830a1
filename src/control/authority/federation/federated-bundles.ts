import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import type { Watch } from '../../../base/watch.ts';
import { WatchSource } from '../../../base/watch.ts';
import type { TrustBundle } from '../../../core/identity/bundle.ts';
import type { Service } from '../../../core/policy/snapshot.ts';
import { Follower } from '../../store/follower.ts';
import type { Store } from '../../store/store.ts';
import type { RelationshipWithBundle } from './relationship.ts';
import { servicesOf, trustBundleOf, withBundle } from './relationship.ts';

/** What the federation gives to agents and sidecars. Each bundle stays by itself: they are never merged. */
export interface Federated {
  /** By trust domain: those that have a bundle with keys in it. */
  readonly bundles: ReadonlyMap<string, TrustBundle>;
  /** By trust domain, those without a bundle too. */
  readonly services: ReadonlyMap<string, readonly Service[]>;
}

export interface FederatedBundlesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
}

const RETRY_MS = 1000;

interface Known {
  readonly relationship: RelationshipWithBundle;
  readonly bundle: TrustBundle | undefined;
  readonly services: readonly Service[];
}

/**
 * All relationships in memory, as they are in the store, on every replica. It looks at the store's revision; of what has
 * not changed, nothing but two numbers is read, and its values stay the same.
 */
export class FederatedBundles {
  readonly #o: FederatedBundlesOptions;
  readonly #current: WatchSource<Federated>;
  readonly #bundles: WatchSource<ReadonlyMap<string, TrustBundle>>;
  readonly #relationships: WatchSource<ReadonlyMap<string, RelationshipWithBundle>>;
  readonly #unsubscribe: () => void;
  #known: ReadonlyMap<string, Known> = new Map();
  readonly #follower: Follower;

  /** Resolves when everything has been read once. */
  static async open(o: FederatedBundlesOptions): Promise<FederatedBundles> {
    const bundles = new FederatedBundles(o);
    try {
      await bundles.#read();
      return bundles;
    } catch (error) {
      bundles.close();
      throw error;
    }
  }

  private constructor(o: FederatedBundlesOptions) {
    this.#o = o;
    this.#current = new WatchSource<Federated>({ bundles: new Map(), services: new Map() });
    this.#bundles = new WatchSource<ReadonlyMap<string, TrustBundle>>(new Map());
    this.#relationships = new WatchSource<ReadonlyMap<string, RelationshipWithBundle>>(new Map());
    this.#follower = new Follower({
      read: () => this.#read(),
      failed: (err) => o.logger.warn({ err }, 'cannot read the federation; what is known stays in force'),
      retryMs: RETRY_MS,
      clock: o.clock,
    });
    this.#unsubscribe = o.store.revision.subscribe(() => void this.#follower.follow());
  }

  get current(): Watch<Federated> {
    return this.#current;
  }

  /** Set only when a bundle comes, changes or goes. */
  get bundles(): Watch<ReadonlyMap<string, TrustBundle>> {
    return this.#bundles;
  }

  /** What there is to poll. Its bundle status is that of the last change, not of the last poll. */
  get relationships(): Watch<ReadonlyMap<string, RelationshipWithBundle>> {
    return this.#relationships;
  }

  /** Resolves once every change that this process had committed before the call is in `current`, or cannot be read. */
  async settled(): Promise<void> {
    await this.#follower.follow();
  }

  /** Idempotent. */
  close(): void {
    void this.#follower.close();
    this.#unsubscribe();
  }

  async #read(): Promise<void> {
    const next = new Map<string, Known>();
    for (const { trustDomain, revision, bundleRevision } of await this.#revisions()) {
      const before = this.#known.get(trustDomain);
      const isSame =
        before?.relationship.revision === revision && before.relationship.bundle.revision === bundleRevision;
      const known = isSame ? before : await this.#readOne(trustDomain);
      if (known !== undefined) next.set(trustDomain, known);
    }
    if (this.#follower.closed || !isChanged(this.#known, next)) return;
    const before = this.#known;
    this.#known = next;
    this.#publish(before);
  }

  async #revisions() {
    const { db } = this.#o.store;
    return await db
      .selectFrom('federation_relationships as r')
      .innerJoin('federation_bundles as b', 'b.trust_domain', 'r.trust_domain')
      .select(['r.trust_domain as trustDomain', 'r.revision as revision', 'b.revision as bundleRevision'])
      .orderBy('r.trust_domain')
      .execute();
  }

  async #readOne(trustDomain: string): Promise<Known | undefined> {
    const { db } = this.#o.store;
    const row = await db
      .selectFrom('federation_relationships')
      .selectAll()
      .where('trust_domain', '=', trustDomain)
      .executeTakeFirst();
    const bundle = await db
      .selectFrom('federation_bundles')
      .selectAll()
      .where('trust_domain', '=', trustDomain)
      .executeTakeFirst();
    if (row === undefined || bundle === undefined) return undefined;
    try {
      const relationship = withBundle(row, bundle);
      return {
        relationship,
        bundle: trustBundleOf(trustDomain, relationship.bundle),
        services: Object.freeze(servicesOf(relationship)),
      };
    } catch (error) {
      // One that is damaged is trusted by nobody, and must not keep us from hearing that another one has ended.
      this.#o.logger.error({ err: error, trustDomain }, 'a federation in the store is damaged, and not in force');
      return undefined;
    }
  }

  #publish(before: ReadonlyMap<string, Known>): void {
    const bundles = new Map<string, TrustBundle>();
    const services = new Map<string, readonly Service[]>();
    const relationships = new Map<string, RelationshipWithBundle>();
    for (const [trustDomain, known] of this.#known) {
      relationships.set(trustDomain, known.relationship);
      services.set(trustDomain, known.services);
      // The same value while it says the same: whoever is told of a change need not look inside.
      const old = before.get(trustDomain)?.bundle;
      const bundle = old?.sequence === known.bundle?.sequence ? old : known.bundle;
      if (bundle !== undefined) bundles.set(trustDomain, bundle);
    }
    const changed =
      bundles.size !== this.#bundles.current.size ||
      [...bundles].some(([name, bundle]) => this.#bundles.current.get(name) !== bundle);
    this.#relationships.set(relationships);
    if (changed) this.#bundles.set(bundles);
    this.#current.set(Object.freeze({ bundles, services }));
  }
}

function isChanged(before: ReadonlyMap<string, Known>, next: ReadonlyMap<string, Known>): boolean {
  return before.size !== next.size || [...next].some(([name, known]) => before.get(name) !== known);
}
