import type { KeyObject } from 'node:crypto';
import type { Watch } from '../../base/watch.ts';
import type { Batch, ShipAck, ShipCaller, ShipHello, ShipNack, ShipWelcome } from '../../core/audit/ship.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import type { X509Svid } from '../../core/identity/x509-svid.ts';
import type { EntryView } from '../../wire/identity.ts';
import type { InboundEndpoint } from '../../wire/policy.ts';

/** What the gRPC face needs of the control plane: the classes of `control` fit as they are. */
export interface Services {
  readonly enrollment: EnrollmentPort;
  readonly identity: IdentityPort;
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

export interface Attestation {
  readonly method: string;
  /** Attacker-controlled, as `csr`. */
  readonly payload: Buffer;
  readonly csr: Buffer;
  /** Address of the caller, for the log. */
  readonly source: string;
}

export interface EnrollmentPort {
  attest(attestation: Attestation): Promise<{
    readonly svid: X509Svid;
    readonly entry: EntryView;
    readonly bundle: TrustBundle;
  }>;
}

export interface IdentityPort {
  renew(caller: PeerIdentity, csr: Buffer): Promise<X509Svid>;
  signJwt(
    caller: PeerIdentity,
    audience: string,
  ): Promise<{ readonly token: string; readonly issuedAt: number; readonly expiresAt: number }>;
}

export interface Published {
  readonly revision: number;
  readonly publishedAt: number;
  for(spiffeId: string, labels: Readonly<Record<string, string>>): { readonly hash: Buffer; readonly content: Buffer };
}

export interface ProxyConnection {
  sent(revision: number, hash: Buffer): void;
  ack(revision: number, hash: Buffer): void;
  nack(revision: number, hash: Buffer, error: string): void;
  close(how: { readonly goodbye: boolean }): Promise<void>;
}

export interface PolicyPort {
  readonly published: Watch<Published>;
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
  close(): void;
}

type ShipStart = { readonly session: AuditSession; readonly welcome: ShipWelcome } | { readonly nack: ShipNack };

export interface AuditPort {
  connect(caller: ShipCaller, hello: ShipHello): ShipStart | Promise<ShipStart>;
}
