import { createHash } from 'node:crypto';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseSpiffeId, workloadOf } from '../../core/identity/spiffe-id.ts';
import type { Workload } from '../../core/policy/model.ts';
import type { RequestAuthentication } from '../../core/policy/request-authentication.ts';
import type { ExternalAuthorizer, Service, SnapshotContent, SnapshotFeature } from '../../core/policy/snapshot.ts';
import { featuresOf } from '../../core/policy/snapshot.ts';
import type { Federated } from '../authority/federation/federated-bundles.ts';
import { compareText } from '../store/compare.ts';
import type { Candidates } from './candidates.ts';
import { CandidatesOf } from './candidates.ts';
import type { PolicySet } from './current.ts';
import { Kept } from './kept.ts';
import type { Selection } from './selection.ts';
import { Contents, SelectionKeys, select } from './selection.ts';

/** What a sidecar gets, ready to send. The same value for as long as nothing in it has changed. */
export interface EncodedSnapshot {
  /** SHA-256 of `content`: what the sidecar acknowledges. */
  readonly hash: Buffer;
  readonly content: Buffer;
  /** What a sidecar must understand to be sent it. */
  readonly needs: readonly SnapshotFeature[];
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
   * What concerns one workload. Encoded once for all workloads that the same objects select, so asking for each of many
   * connected sidecars is cheap. `spiffeId` and `labels` come from its certificate and entry, never from what it says.
   */
  for(spiffeId: string, labels: Readonly<Record<string, string>>): EncodedSnapshot;
}

/** What every snapshot holds whatever it selects. A new value when any of it has changed. */
export interface Environment {
  readonly services: readonly Service[];
  readonly bundle: TrustBundle;
  readonly federated: Federated;
  /** What CUSTOM policies can name. */
  readonly authorizers: readonly ExternalAuthorizer[];
  /** 0: the field is not believed. */
  readonly trustedProxies: number;
}

export interface SnapshotsOptions {
  /** Deterministic: the same content gives the same bytes. */
  readonly encode: (content: SnapshotContent) => Buffer;
  readonly rootNamespace: string;
  readonly federatesWith: (spiffeId: string) => readonly string[];
  /** Puts the keys of its issuers into one; the same value for as long as they are the same. */
  readonly withKeys: (one: RequestAuthentication) => RequestAuthentication;
}

/** A workload, and what tells it apart. */
interface Known {
  readonly spiffeId: string;
  readonly workload: Workload;
  /** Its labels, in one order. */
  readonly labels: string;
}

interface Made {
  readonly candidates: Candidates;
  readonly keys: number;
  readonly selection: string;
}

/**
 * Makes the snapshots of one publication after the other. What a change does not concern is taken over from before: the
 * candidates of the namespaces in which nothing has changed, the selections made of them, and the encoded snapshots of the
 * selections that have stayed the same. So a change costs what it concerns, and not what there is.
 */
export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #candidates: CandidatesOf;
  readonly #selectionKeys = new SelectionKeys();
  readonly #contents = new Contents();
  /** By workload. */
  readonly #made = new Kept<Made>();
  readonly #selections = new Kept<Selection>();
  /** By selection and trust domains, of `#environment`. */
  readonly #encoded = new Kept<EncodedSnapshot>();
  readonly #known = new WeakMap<object, Known>();
  #environment: Environment | undefined;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.#candidates = new CandidatesOf(options.rootNamespace);
  }

  /** @param keys grows whenever an answer of `withKeys` may have changed. */
  publish(
    set: PolicySet,
    environment: Environment,
    o: { readonly publishedAt: number; readonly keys: number },
  ): Published {
    const candidates = this.#candidates.in(set);
    for (const kept of [this.#made, this.#selections, this.#encoded]) kept.next();
    return Object.freeze({
      revision: set.revision,
      bundleSequence: environment.bundle.sequence,
      publishedAt: o.publishedAt,
      for: (spiffeId: string, labels: Readonly<Record<string, string>>) => {
        const known = this.#knownOf(spiffeId, labels);
        const foreign = this.#foreign(spiffeId, environment.federated);
        const selection = this.#select(candidates(known.workload.namespace), known, o.keys);
        return this.#encodeOnce(selection, foreign, environment);
      },
    });
  }

  /** Whoever asks again asks with the very same labels. */
  #knownOf(spiffeId: string, labels: Readonly<Record<string, string>>): Known {
    const before = this.#known.get(labels);
    if (before?.spiffeId === spiffeId) return before;
    // An identity that is no service has no namespace: only the objects of the root namespace can apply to it.
    const own = workloadOf(parseSpiffeId(spiffeId));
    const workload: Workload = {
      namespace: own?.namespace ?? '',
      labels,
      ...(own !== undefined && { service: own.service }),
    };
    const sorted = Object.entries(labels).sort(([a], [b]) => compareText(a, b));
    const known = { spiffeId, workload, labels: JSON.stringify(sorted) };
    this.#known.set(labels, known);
    return known;
  }

  /** Those that it federates with and that have a bundle: without one, nothing of theirs can be verified. */
  #foreign(spiffeId: string, federated: Federated): readonly string[] {
    if (federated.bundles.size === 0) return [];
    const named = new Set(this.#options.federatesWith(spiffeId));
    return [...named].filter((name) => federated.bundles.has(name)).sort(compareText);
  }

  /** Returns its key. */
  #select(candidates: Candidates, { workload, labels }: Known, keys: number): string {
    const { rootNamespace, withKeys } = this.#options;
    // Its name matters only where a target may name it.
    const key = `${workload.namespace}/${candidates.namesService ? (workload.service ?? '') : ''} ${labels}`;
    const before = this.#made.get(key);
    if (before?.candidates === candidates && before.keys === keys && this.#selections.get(before.selection)) {
      return before.selection;
    }
    const selected = select(candidates, workload, rootNamespace, withKeys);
    const selection = this.#selectionKeys.of(selected);
    this.#selections.set(selection, selected);
    this.#made.set(key, { candidates, keys, selection });
    return selection;
  }

  #encodeOnce(selection: string, foreign: readonly string[], environment: Environment): EncodedSnapshot {
    if (environment !== this.#environment) {
      this.#encoded.clear();
      this.#environment = environment;
    }
    const key = `${selection} | ${foreign.join(' ')}`;
    const known = this.#encoded.get(key);
    if (known !== undefined) return known;
    const selected = this.#selections.get(selection);
    if (selected === undefined) throw new Error('a selection was dropped while it was used');
    const content = toContent(this.#contents.of(selected), selected, foreign, environment);
    const bytes = this.#options.encode(content);
    const hash = createHash('sha256').update(bytes).digest();
    const snapshot = Object.freeze({ hash, content: bytes, needs: featuresOf(content) });
    this.#encoded.set(key, snapshot);
    return snapshot;
  }
}

function toContent(
  part: ReturnType<Contents['of']>,
  selection: Selection,
  foreign: readonly string[],
  environment: Environment,
): SnapshotContent {
  const { services, bundle, federated, authorizers, trustedProxies } = environment;
  const bundles = foreign.flatMap((name) => federated.bundles.get(name) ?? []);
  const named = new Set(selection.policies.flatMap(({ provider }) => provider ?? []));
  const asked = authorizers.filter(({ name }) => named.has(name));
  return {
    ...part,
    services: [...services, ...foreign.flatMap((name) => federated.services.get(name) ?? [])],
    bundle,
    ...(bundles.length > 0 && { federated: bundles }),
    ...(asked.length > 0 && { authorizers: asked }),
    ...(trustedProxies > 0 && { trustedProxies }),
  };
}
