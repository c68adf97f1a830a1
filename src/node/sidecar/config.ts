import type { AttestationProof } from '../agent/attest-node/proof.ts';
import type { Trust } from '../agent/bootstrap.ts';

export interface SidecarInbound {
  readonly host: string;
  /** 0 chooses a free one. */
  readonly port: number;
  /** host:port that other sidecars connect to. Default: the listening address. */
  readonly advertise?: string;
  readonly protocol: 'http' | 'tcp';
  /** The local application. Its port is the one that policies name. */
  readonly application: { readonly host: string; readonly port: number };
  /** See `RecordingRule`. Default `strict`. */
  readonly record?: 'strict' | 'spool';
  /** See `RecordingRule`. Default `refuse`. */
  readonly whenFull?: 'refuse' | 'degrade';
}

export interface SidecarConfig {
  /** host:port of the control plane's gRPC listener. */
  readonly server: string;
  readonly trust: Trust;
  /** Key, certificate, last policy and audit spool; created, for its owner only. */
  readonly stateDirectory: string;
  /** How it proves what it is; a join token is needed until the first certificate is in the state directory. */
  readonly proof?: AttestationProof;
  /** Short for a proof by join token. */
  readonly joinTokenFile?: string;
  readonly inbound: readonly SidecarInbound[];
  readonly outbound: { readonly host: string; readonly port: number };
  readonly admin: { readonly host: string; readonly port: number };
  /** Accepted in JWT-SVIDs of callers besides the own SPIFFE ID, `<service>.<namespace>.mesh`, and its http(s) URLs. */
  readonly jwtAudiences?: readonly string[];
}
