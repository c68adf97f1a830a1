import type { KeyObject } from 'node:crypto';
import type { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { Grant, WorkloadEntry } from '../../core/identity/workload-entry.ts';

/** What the control plane has told this agent. Frozen; every change is a new value. */
export interface AgentState {
  /** By id. What this agent may hand out. */
  readonly entries: ReadonlyMap<string, WorkloadEntry>;
  /** Of the own trust domain. */
  readonly bundle: TrustBundle;
  /** By trust domain: those that some entry of this agent federates with. */
  readonly federated: ReadonlyMap<string, TrustBundle>;
  /** Whether the control plane is there; if not, all of this is what it said last. */
  readonly connected: boolean;
}

/** The X.509-SVID of a workload, with the key that was made for it here. Frozen; a renewal is a new value. */
export interface HeldSvid {
  readonly spiffeId: string;
  /** DER, leaf first, without the root. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

/** Somebody's interest in an X.509-SVID: while there is one, it is renewed. */
export interface Lease {
  /**
   * Undefined until it was signed for the first time, and again once it has expired or its entry is gone: it must not be used
   * any more. Set also when `failure` changes while there is none, so that who waits for an SVID hears why there is none.
   */
  readonly svid: Watch<HeldSvid | undefined>;
  /** Why the last try to get an SVID failed; undefined when it did not. An SVID that is there stays good until it expires. */
  readonly failure: () => AppError | undefined;
  /** Idempotent. The SVID is kept for a while, for whoever comes next. */
  release(): void;
}

export interface AgentJwt {
  /** JWS compact serialization. */
  readonly token: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

export interface AgentWit extends AgentJwt {
  /** Whoever shows the token proves to have this key. */
  readonly privateKey: KeyObject;
}

/** The identities of the workloads beside this agent: what the Workload API and SDS hand out. */
export interface AgentIdentities {
  /** Undefined until the control plane has said something, now or in an earlier life of this agent. */
  readonly state: Watch<AgentState | undefined>;
  /** What a workload with these selectors may have, by the state of now; not what has expired. Oldest entry first. */
  grantsFor(selectors: readonly string[]): readonly Grant[];
  /**
   * Signed on first use, on a key made here; renewed at half life ± 10 %; replaced soon when its root is tainted. Leases of
   * the same grant share one SVID.
   */
  x509(grant: Grant): Lease;
  /**
   * Kept until half of its life has passed; then the last good one is handed out while the control plane is away.
   *
   * @throws AppError `invalid` for a bad audience, `not-found` when the entry is gone, or what the control plane said
   */
  jwt(grant: Grant, audience: readonly string[]): Promise<AgentJwt>;
  /** As `jwt`. The key stays the same for as long as the token does. */
  wit(grant: Grant): Promise<AgentWit>;
}
