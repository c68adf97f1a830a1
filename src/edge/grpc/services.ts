import type { KeyObject } from 'node:crypto';
import type { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import type {
  Batch,
  LogPin,
  ShipAck,
  ShipCaller,
  ShipHello,
  ShipLogged,
  ShipNack,
  ShipWelcome,
} from '../../core/audit/ship.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import type { WorkloadEntry } from '../../core/identity/workload-entry.ts';
import type { X509Svid } from '../../core/identity/x509-svid.ts';
import type { Quarantine } from '../../core/policy/snapshot.ts';
import type { EntryView, IssuedToken } from '../../wire/identity.ts';
import type { ItemResult, SignItem, SignJwtOrder } from '../../wire/identity-sign.ts';
import type { InboundEndpoint } from '../../wire/policy.ts';

/** What the gRPC face needs of the control plane: the classes of `control` fit as they are. */
export interface Services {
  readonly nodes: NodesPort;
  readonly enrollment: EnrollmentPort;
  readonly identity: IdentityPort;
  readonly agents: AgentsPort;
  readonly policy: PolicyPort;
  readonly audit: AuditPort;
}

/** The control plane's own X.509-SVID. */
export interface ServerIdentity {
  /** DER, leaf first, without the root. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
  readonly notAfter: number;
}

/** What has attested itself, and whether it is still welcome. */
export interface NodesPort {
  /** Throws `forbidden`. */
  check(peer: PeerIdentity): Promise<void>;
  /** As `check`, from memory and without changing anything; undefined for a caller that is welcome. */
  refusal(peer: PeerIdentity): { readonly why: string; readonly error: AppError } | undefined;
  /** Calls `fn` after every change to the instance, until the returned function is called. */
  watch(instanceId: string, fn: () => void): () => void;
}

export interface Attestation {
  readonly method: string;
  /** Attacker-controlled, as `csr`, `agent` and the answers to challenges. */
  readonly payload: Buffer;
  readonly csr: Buffer;
  readonly agent: boolean;
  /** Asks the caller; rejects when it goes away, takes too long, or is asked too often. */
  readonly challenge: (question: Buffer) => Promise<Buffer>;
  /** Who the caller has proved to be on this connection; undefined for most. */
  readonly caller: PeerIdentity | undefined;
  /** Address of the caller, for the log. */
  readonly source: string;
}

export interface EnrollmentPort {
  attest(attestation: Attestation): Promise<{
    readonly svid: X509Svid;
    /** Absent for an agent. */
    readonly entry?: EntryView;
    readonly bundle: TrustBundle;
  }>;
}

/** Each `source` is the caller's network address, for the record. */
export interface IdentityPort {
  renew(caller: PeerIdentity, csr: Buffer, source: string): Promise<X509Svid>;
  /** In the order of the items; one that is refused does not fail its neighbours. */
  signX509(caller: PeerIdentity, items: readonly SignItem[], source: string): Promise<readonly ItemResult<X509Svid>[]>;
  signWit(
    caller: PeerIdentity,
    items: readonly SignItem[],
    source: string,
  ): Promise<readonly ItemResult<IssuedToken>[]>;
  signJwt(caller: PeerIdentity, order: SignJwtOrder, source: string): Promise<IssuedToken>;
}

/** What an agent should have. Frozen: the same value is the same content, and entries and bundles that stay are the same. */
export interface AgentContent {
  /** By id. */
  readonly entries: ReadonlyMap<string, WorkloadEntry>;
  /** By trust domain. */
  readonly bundles: ReadonlyMap<string, TrustBundle>;
}

export interface AgentConnection {
  readonly content: Watch<AgentContent>;
  /** Aborts, with an AppError, when a newer stream of the same agent has taken over. */
  readonly replaced: AbortSignal;
  /** The agent has this in force. */
  acknowledged(content: AgentContent): void;
  close(): void;
}

export interface AgentsPort {
  /** Throws `forbidden`. */
  connect(hello: {
    readonly instanceId: string;
    readonly spiffeId: string;
    readonly version: string;
    /** The agent's clock, milliseconds since the epoch. */
    readonly time: number;
  }): AgentConnection;
}

export interface Published {
  readonly revision: number;
  /** Of the trust bundle in it. */
  readonly bundleSequence?: number;
  readonly publishedAt: number;
  /** What it is for one sidecar, where a change reaches them one after the other. Absent: the same for all. */
  of?(instanceId: string): Published;
  for(
    spiffeId: string,
    labels: Readonly<Record<string, string>>,
  ): {
    readonly hash: Buffer;
    readonly content: Buffer;
    /** What a sidecar must understand to be sent it. Absent for nothing. */
    readonly needs?: readonly string[];
  };
}

export interface ProxyConnection {
  sent(revision: number, hash: Buffer, bundleSequence?: number): void;
  ack(revision: number, hash: Buffer): void;
  nack(revision: number, hash: Buffer, error: string): void;
  /** The sidecar has the quarantine of this revision in force. */
  quarantined?(revision: number): void;
  close(how: { readonly goodbye: boolean }): Promise<void>;
}

export interface PolicyPort {
  readonly published: Watch<Published>;
  /** Who is cut off: pushed ahead of everything. Default nobody. */
  readonly quarantine?: Watch<Quarantine>;
  readonly proxies: {
    connect(hello: {
      readonly instanceId: string;
      readonly spiffeId: string;
      readonly version: string;
      readonly inbound: readonly InboundEndpoint[];
    }): Promise<ProxyConnection>;
  };
  /** A caller without an entry is refused; its labels choose its policies. */
  readonly entries: {
    bySpiffeId(spiffeId: string): Promise<{ readonly labels: Readonly<Record<string, string>> } | undefined>;
  };
  /** Changes whenever an entry may have changed: labels are then read again. The head revision of the store is one. */
  readonly changes: Watch<unknown>;
}

export interface AuditSession {
  /** May be called again before it has resolved; batches count in the order of the calls. A refusal ends the session. */
  append(batch: Batch): Promise<{ readonly ack: ShipAck } | { readonly nack: ShipNack }>;
  loggedThrough(size: number): { readonly epoch: number; readonly seq: number } | undefined;
  close(): void;
}

type ShipStart = { readonly session: AuditSession; readonly welcome: ShipWelcome } | { readonly nack: ShipNack };

export interface AuditPort {
  connect(caller: ShipCaller, hello: ShipHello): ShipStart | Promise<ShipStart>;
  /** How the log grows; without it, sidecars are shown no log. */
  readonly log?: LogFeedPort;
}

export interface LogFeedPort {
  follow(
    pins: readonly LogPin[],
    loggedThrough: AuditSession['loggedThrough'],
    signal: AbortSignal,
  ): AsyncIterable<ShipLogged>;
}
