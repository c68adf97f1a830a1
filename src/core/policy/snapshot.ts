import type { TrustBundle } from '../identity/bundle.ts';
import type { Policy } from './model.ts';

/** What the control plane pushes to one sidecar: only what concerns its workload. */
export interface SnapshotContent {
  /** Those that select the workload; their `selector` is not sent and reads as empty. None: everything is denied. */
  readonly policies: readonly Policy[];
  readonly services: readonly Service[];
  readonly bundle: TrustBundle;
  /** Of the trust domains that the workload federates with; each verifies its own identities and no others. Absent for none. */
  readonly federated?: readonly TrustBundle[];
}

/** What a sidecar must understand of a snapshot beyond the first release, or it would not do what the snapshot says. */
export type SnapshotFeature = 'federation';

/** All that this version understands: what its sidecars say when they connect. */
export const snapshotFeatures: readonly SnapshotFeature[] = Object.freeze(['federation']);

/** What a sidecar must understand to be given this content. */
export function featuresOf(content: SnapshotContent): readonly SnapshotFeature[] {
  return content.federated === undefined || content.federated.length === 0 ? [] : ['federation'];
}

export interface Service {
  readonly name: string;
  readonly namespace: string;
  /** The one identity that its endpoints must present; of a federated trust domain for a service there. */
  readonly spiffeId: string;
  readonly endpoints: readonly ServiceEndpoint[];
}

export type EndpointProtocol = 'http' | 'tcp';

export interface ServiceEndpoint {
  /** host:port of the sidecar's inbound listener. */
  readonly address: string;
  readonly protocol: EndpointProtocol;
}

/** A snapshot as it travels. `content` is absent when the receiver holds that hash already. */
export interface Snapshot {
  readonly revision: number;
  readonly hash: Buffer;
  readonly content: Buffer | undefined;
  /** Milliseconds since the epoch. */
  readonly publishedAt: number;
}
