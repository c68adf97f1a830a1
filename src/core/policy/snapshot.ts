import type { TrustBundle } from '../identity/bundle.ts';
import type { Condition, Policy, Rule } from './model.ts';
import type { PeerModes } from './peer-authentication.ts';
import type { RateLimit } from './rate-limit.ts';
import type { RequestAuthentication } from './request-authentication.ts';

/** What the control plane pushes to one sidecar: only what concerns its workload. */
export interface SnapshotContent {
  /** Those that select the workload; their `selector` is not sent and reads as empty. None: everything is denied. */
  readonly policies: readonly Policy[];
  readonly services: readonly Service[];
  readonly bundle: TrustBundle;
  /** Of the trust domains that the workload federates with; each verifies its own identities and no others. Absent for none. */
  readonly federated?: readonly TrustBundle[];
  /** Policies about the calls that the workload makes. Absent: it may call everybody who lets it in. */
  readonly egress?: readonly Policy[];
  /** With their keys in `jwks`. Absent for none. */
  readonly requestAuthentications?: readonly RequestAuthentication[];
  /** Absent: STRICT on every port. */
  readonly peerAuthentication?: PeerModes;
  /** Absent for none. */
  readonly rateLimits?: readonly RateLimit[];
  /** Those that the CUSTOM policies name, where they are configured. Absent for none. */
  readonly authorizers?: readonly ExternalAuthorizer[];
  /** Proxies in front of the workload that append to X-Forwarded-For. Absent: the field is not believed. */
  readonly trustedProxies?: number;
}

/** More would be a mistake, and the client would choose what is believed. */
export const MAX_TRUSTED_PROXIES = 16;

/** An Envoy ext_authz service, asked over gRPC. What it does not answer in time is denied. */
export interface ExternalAuthorizer {
  readonly name: string;
  /** host:port. */
  readonly address: string;
  readonly timeoutMs: number;
  /** PEM of the CAs that its certificate is verified with. Absent: plain text, for a loopback address only. */
  readonly ca?: string;
  /** The most of a request's body that is sent along, in bytes. 0: none. */
  readonly maxBodyBytes: number;
}

/** host:port of this machine, written as an address or as `localhost`: what is said there in plain text stays here. */
export function isLoopbackAddress(address: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\]):\d+$/.test(address);
}

/** Identities whose every call, in and out, is refused. */
export interface Quarantine {
  /** Grows with every change. */
  readonly revision: number;
  readonly spiffeIds: readonly string[];
}

/** What a sidecar must understand of a snapshot beyond the first release, or it would not do what the snapshot says. */
export type SnapshotFeature =
  | 'federation'
  | 'policy-v2'
  | 'custom'
  | 'egress'
  | 'request-authentication'
  | 'peer-authentication'
  | 'rate-limits'
  /** Of the stream, not of a content: see `Snapshot.quarantine`. */
  | 'quarantine';

/** All that this version understands: what its sidecars say when they connect. */
export const snapshotFeatures: readonly SnapshotFeature[] = Object.freeze([
  'federation',
  'policy-v2',
  'custom',
  'egress',
  'request-authentication',
  'rate-limits',
  'peer-authentication',
  'quarantine',
]);

/** What a sidecar must understand to be given this content. */
export function featuresOf(content: SnapshotContent): readonly SnapshotFeature[] {
  const features: SnapshotFeature[] = [];
  if (content.federated !== undefined && content.federated.length > 0) features.push('federation');
  const egress = content.egress ?? [];
  if ([...content.policies, ...egress].some(isSecondVersion)) features.push('policy-v2');
  if (content.policies.some((policy) => policy.action === 'CUSTOM')) features.push('custom');
  if (egress.length > 0) features.push('egress');
  if ((content.requestAuthentications ?? []).length > 0) features.push('request-authentication');
  if (content.peerAuthentication !== undefined) features.push('peer-authentication');
  if ((content.rateLimits ?? []).length > 0) features.push('rate-limits');
  return features;
}

/** Whether a sidecar of the first release would leave out part of a policy without a word. */
function isSecondVersion(policy: Policy): boolean {
  return (
    policy.action === 'AUDIT' || policy.shadow === true || policy.validity !== undefined || policy.rules.some(hasMore)
  );
}

function hasMore(rule: Rule): boolean {
  return (
    isSome(rule.when) ||
    rule.from.some((source) => isSome(source.where)) ||
    rule.to.some((operation) => isSome(operation.where) || operation.paths.some((path) => path.kind === 'template'))
  );
}

function isSome(conditions: readonly Condition[] | undefined): boolean {
  return conditions !== undefined && conditions.length > 0;
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
  /** Port of the application there, which egress policies name. Absent where it is not known: in another trust domain. */
  readonly applicationPort?: number;
}

/** A snapshot as it travels. `content` is absent when the receiver holds that hash already. */
export interface Snapshot {
  readonly revision: number;
  readonly hash: Buffer;
  readonly content: Buffer | undefined;
  /** Milliseconds since the epoch. */
  readonly publishedAt: number;
  /** Absent: the one before goes on. */
  readonly quarantine?: Quarantine;
}
