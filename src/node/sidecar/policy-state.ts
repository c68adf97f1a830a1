import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { CompiledPolicies } from '../../core/policy/compile.ts';
import type { PeerModes } from '../../core/policy/peer-authentication.ts';
import type { RateLimit } from '../../core/policy/rate-limit.ts';
import type { RequestAuthentication } from '../../core/policy/request-authentication.ts';
import type { ExternalAuthorizer, Service } from '../../core/policy/snapshot.ts';
import type { UserTokenRules } from '../../core/policy/user-token-rules.ts';

/** What is in force in this sidecar: the last snapshot that it could use. */
export interface PolicyState {
  /** Policy revision of the control plane. */
  readonly revision: number;
  readonly hash: Buffer;
  readonly compiled: CompiledPolicies;
  /** About the calls that this workload makes, with the called SPIFFE ID as their `source`. Absent: it may call everybody. */
  readonly egress?: CompiledPolicies | undefined;
  /** When what they decide may change by itself, ascending, in milliseconds since the epoch. Absent for never. */
  readonly boundaries?: readonly number[];
  /** Tokens of end users that are accepted. Absent: they are the application's own business. */
  readonly userTokens?: UserTokenRules | undefined;
  /** What `userTokens` was made from: while it stays the same, so does that. */
  readonly requestAuthentications?: readonly RequestAuthentication[] | undefined;
  /** Where plain text is let in. Absent: nowhere. */
  readonly peerModes?: PeerModes | undefined;
  /** Absent for none. */
  readonly rateLimits?: readonly RateLimit[] | undefined;
  /** Absent for none. */
  readonly authorizers?: readonly ExternalAuthorizer[] | undefined;
  /** Proxies in front of this workload that append to X-Forwarded-For. Absent: the field is not believed. */
  readonly trustedProxies?: number | undefined;
  /** By `<service>.<namespace>`, with `.<trust domain>` after it for a service of another one. */
  readonly services: ReadonlyMap<string, Service>;
  readonly bundle: TrustBundle;
  /** Of the trust domains that this workload federates with. The same value while they say the same. */
  readonly federated: readonly TrustBundle[];
  /** When the control plane published it, by its clock; milliseconds since the epoch. */
  readonly publishedAt: number;
  /** When this sidecar last heard from the control plane that this is current, by its own clock. */
  readonly receivedAt: number;
  /** Whether the control plane is there to replace it. */
  readonly connected: boolean;
}
