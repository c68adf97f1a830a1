import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseSpiffeId, workloadOf } from '../../core/identity/spiffe-id.ts';
import type { Policy, Workload } from '../../core/policy/model.ts';
import { selects } from '../../core/policy/selects.ts';
import type { Service, SnapshotContent, SnapshotFeature } from '../../core/policy/snapshot.ts';
import { featuresOf } from '../../core/policy/snapshot.ts';
import type { Federated } from '../authority/federation/federated-bundles.ts';
import { compareText } from '../store/compare.ts';
import type { PolicySet } from './current.ts';

/** What a sidecar gets, ready to send. */
export interface EncodedSnapshot {
  /** SHA-256 of `content`: what the sidecar acknowledges. */
  readonly hash: Buffer;
  readonly content: Buffer;
  /** What a sidecar must understand to be sent it. */
  readonly needs: readonly SnapshotFeature[];
}

/** Trust domains that workloads may call and be called from: only those that their entries name. */
export interface FederationSource {
  readonly federated: Watch<Federated>;
  /** What the entries of an identity name together. */
  federatesWith(spiffeId: string): readonly string[];
  /** Sets whenever an answer of `federatesWith` may have changed. */
  readonly changes: Watch<unknown>;
}

/** The state of the mesh at one moment. Immutable. */
export interface Published {
  /** Revision of the policies. Services and bundle change without it; hashes tell. */
  readonly revision: number;
  /** Of the trust bundle. */
  readonly bundleSequence: number;
  /** Milliseconds since the epoch. */
  readonly publishedAt: number;
  /**
   * What concerns one workload. Encoded once for all workloads that the same policies select, so asking for each of many
   * connected sidecars is cheap. `spiffeId` and `labels` come from its certificate and entry, never from what it says.
   */
  for(spiffeId: string, labels: Readonly<Record<string, string>>): EncodedSnapshot;
}

export interface PublisherOptions {
  readonly policies: Watch<PolicySet>;
  readonly services: Watch<readonly Service[]>;
  readonly bundle: Watch<TrustBundle>;
  /** Default: no other trust domains. */
  readonly federation?: FederationSource | undefined;
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
  readonly #current: WatchSource<Published>;
  readonly #unsubscribe: readonly (() => void)[];
  #pending: NodeJS.Immediate | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#current = new WatchSource(this.#build());
    const changed = () => this.#publishSoon();
    this.#unsubscribe = [
      options.policies.subscribe(changed),
      options.services.subscribe(changed),
      options.bundle.subscribe(changed),
      ...(options.federation === undefined
        ? []
        : [options.federation.federated.subscribe(changed), options.federation.changes.subscribe(changed)]),
    ];
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
    const { policies, services, bundle, federation, encode, clock } = this.#options;
    return new Snapshots({
      set: policies.current,
      services: services.current,
      bundle: bundle.current,
      federated: federation?.federated.current ?? none,
      federatesWith: (spiffeId) => federation?.federatesWith(spiffeId) ?? [],
      encode,
      rootNamespace: this.#options.rootNamespace ?? DEFAULT_ROOT_NAMESPACE,
      publishedAt: clock.now(),
    });
  }
}

const none: Federated = Object.freeze({ bundles: new Map(), services: new Map() });

interface SnapshotsOptions {
  readonly set: PolicySet;
  readonly services: readonly Service[];
  readonly bundle: TrustBundle;
  readonly federated: Federated;
  readonly federatesWith: (spiffeId: string) => readonly string[];
  readonly encode: (content: SnapshotContent) => Buffer;
  readonly rootNamespace: string;
  readonly publishedAt: number;
}

class Snapshots implements Published {
  readonly revision: number;
  readonly bundleSequence: number;
  readonly publishedAt: number;
  readonly #options: SnapshotsOptions;
  /** Only these can apply to a workload, by its namespace: a mesh of many namespaces does not look at all policies. */
  readonly #candidates = new Map<string, readonly Policy[]>();
  readonly #byWorkload = new Map<string, EncodedSnapshot>();
  /** By what was selected: workloads with different labels often have the same policies. */
  readonly #bySelection = new Map<string, EncodedSnapshot>();

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.revision = options.set.revision;
    this.bundleSequence = options.bundle.sequence;
    this.publishedAt = options.publishedAt;
  }

  for(spiffeId: string, labels: Readonly<Record<string, string>>): EncodedSnapshot {
    // An identity that is no service has no namespace: only the policies of the root namespace can apply to it.
    const own = workloadOf(parseSpiffeId(spiffeId));
    const namespace = own?.namespace ?? '';
    const foreign = this.#foreign(spiffeId);
    const sorted = Object.entries(labels).sort(([a], [b]) => compareText(a, b));
    // Its name matters only where a target may name it.
    const service = this.#candidatesOf(namespace).some(namesService) ? own?.service : undefined;
    const key = JSON.stringify([namespace, service, foreign, sorted]);
    const known = this.#byWorkload.get(key);
    if (known !== undefined) return known;
    const workload = { namespace, labels, ...(service !== undefined && { service }) };
    const snapshot = this.#encodeOnce(this.#selected(workload), foreign);
    this.#byWorkload.set(key, snapshot);
    return snapshot;
  }

  /** Those that it federates with and that have a bundle: without one, nothing of theirs can be verified. */
  #foreign(spiffeId: string): readonly string[] {
    const { federated, federatesWith } = this.#options;
    if (federated.bundles.size === 0) return [];
    return [...new Set(federatesWith(spiffeId))].filter((name) => federated.bundles.has(name)).sort(compareText);
  }

  #selected(workload: Workload): readonly Policy[] {
    const { rootNamespace } = this.#options;
    return this.#candidatesOf(workload.namespace).filter((policy) => selects(policy, workload, rootNamespace));
  }

  #candidatesOf(namespace: string): readonly Policy[] {
    const known = this.#candidates.get(namespace);
    if (known !== undefined) return known;
    const { set, rootNamespace } = this.#options;
    const candidates = set.policies.filter((each) => each.namespace === namespace || each.namespace === rootNamespace);
    this.#candidates.set(namespace, candidates);
    return candidates;
  }

  #encodeOnce(policies: readonly Policy[], foreign: readonly string[]): EncodedSnapshot {
    // A revision belongs to exactly one policy.
    const key = `${policies.map((policy) => policy.revision).join(',')} ${foreign.join(' ')}`;
    const known = this.#bySelection.get(key);
    if (known !== undefined) return known;
    const { bundle, encode, federated } = this.#options;
    const bundles = foreign.flatMap((name) => federated.bundles.get(name) ?? []);
    const egress = policies.filter((policy) => policy.direction === 'egress').map(withoutScope);
    const value: SnapshotContent = {
      policies: policies.filter((policy) => policy.direction === undefined).map(withoutScope),
      services: [...this.#options.services, ...foreign.flatMap((name) => federated.services.get(name) ?? [])],
      bundle,
      ...(bundles.length > 0 && { federated: bundles }),
      ...(egress.length > 0 && { egress }),
    };
    const content = encode(value);
    const hash = createHash('sha256').update(content).digest();
    const snapshot = Object.freeze({ hash, content, needs: featuresOf(value) });
    this.#bySelection.set(key, snapshot);
    return snapshot;
  }
}

/** They have selected; the sidecar has no use for them. */
function withoutScope({ targets: _, ...policy }: Policy): Policy {
  return { ...policy, selector: {} };
}

function namesService({ targets = [] }: Policy): boolean {
  return targets.some((target) => target.kind === 'Service');
}
