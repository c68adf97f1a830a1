import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { RequestAuthentication } from '../../core/policy/request-authentication.ts';
import type { ExternalAuthorizer, Service, SnapshotContent } from '../../core/policy/snapshot.ts';
import type { Federated } from '../authority/federation/federated-bundles.ts';
import type { PolicySet } from './current.ts';
import type { Environment, Published } from './snapshots.ts';
import { Snapshots } from './snapshots.ts';

export type { EncodedSnapshot, Published } from './snapshots.ts';

/** Trust domains that workloads may call and be called from: only those that their entries name. */
export interface FederationSource {
  readonly federated: Watch<Federated>;
  /** What the entries of an identity name together. */
  federatesWith(spiffeId: string): readonly string[];
  /** Sets whenever an answer of `federatesWith` may have changed. */
  readonly changes: Watch<unknown>;
}

/** The keys of those who issue tokens to end users. */
export interface TokenKeys {
  /** With its keys in `jwks`. The same value for as long as they are the same. */
  withKeys(one: RequestAuthentication): RequestAuthentication;
  /** Sets whenever an answer of `withKeys` may have changed. */
  readonly changes: Watch<unknown>;
}

export interface PublisherOptions {
  readonly policies: Watch<PolicySet>;
  readonly services: Watch<readonly Service[]>;
  readonly bundle: Watch<TrustBundle>;
  /** Default: no other trust domains. */
  readonly federation?: FederationSource | undefined;
  /** Where tokens of end users can be verified with keys that are fetched. Default: with those that stand in the objects. */
  readonly tokenKeys?: TokenKeys | undefined;
  /** What CUSTOM policies can name. Default none. */
  readonly authorizers?: readonly ExternalAuthorizer[];
  /** Proxies in front of workloads that append to X-Forwarded-For. Default 0: the field is not believed. */
  readonly trustedProxies?: number;
  /** Deterministic: the same content gives the same bytes. */
  readonly encode: (content: SnapshotContent) => Buffer;
  /** Policies in this namespace apply to the workloads of every namespace. Default 'writ-system'. */
  readonly rootNamespace?: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const DEFAULT_ROOT_NAMESPACE = 'writ-system';

/**
 * Joins policies, services and trust into the one value that every connected sidecar is sent its part of. Whatever changes in
 * one turn of the event loop is published once.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #snapshots: Snapshots;
  readonly #current: WatchSource<Published>;
  readonly #unsubscribe: readonly (() => void)[];
  #environment: Environment;
  #pending: NodeJS.Immediate | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    const { policies, services, bundle, federation, tokenKeys } = options;
    this.#snapshots = new Snapshots({
      encode: options.encode,
      rootNamespace: options.rootNamespace ?? DEFAULT_ROOT_NAMESPACE,
      federatesWith: (spiffeId) => federation?.federatesWith(spiffeId) ?? [],
      withKeys: (one) => tokenKeys?.withKeys(one) ?? one,
    });
    this.#environment = this.#look();
    this.#current = new WatchSource(this.#build());
    const changed = () => this.#publishSoon();
    const watched: (Watch<unknown> | undefined)[] = [
      policies,
      services,
      bundle,
      federation?.federated,
      federation?.changes,
      tokenKeys?.changes,
    ];
    this.#unsubscribe = watched.flatMap((watch) => watch?.subscribe(changed) ?? []);
  }

  get current(): Watch<Published> {
    return this.#current;
  }

  close(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    clearImmediate(this.#pending);
  }

  #publishSoon(): void {
    this.#pending ??= setImmediate(() => {
      this.#pending = undefined;
      const published = this.#build();
      this.#current.set(published);
      this.#options.logger.debug({ revision: published.revision }, 'published');
    });
  }

  #build(): Published {
    const { policies, tokenKeys, clock } = this.#options;
    const now = this.#look();
    // The same value when it says the same: all that was encoded with it still holds.
    if (!isSame(now, this.#environment)) this.#environment = now;
    const keys = tokenKeys?.changes.version ?? 0;
    return this.#snapshots.publish(policies.current, this.#environment, { publishedAt: clock.now(), keys });
  }

  #look(): Environment {
    const { services, bundle, federation, authorizers = noAuthorizers, trustedProxies = 0 } = this.#options;
    return {
      services: services.current,
      bundle: bundle.current,
      federated: federation?.federated.current ?? none,
      authorizers,
      trustedProxies,
    };
  }
}

const none: Federated = Object.freeze({ bundles: new Map(), services: new Map() });
const noAuthorizers: readonly ExternalAuthorizer[] = Object.freeze([]);

function isSame(a: Environment, b: Environment): boolean {
  return a.services === b.services && a.bundle === b.bundle && a.federated === b.federated;
}
