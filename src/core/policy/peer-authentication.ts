/** Where callers without a certificate are let in (Istio's PeerAuthentication). Frozen values only. */
export interface PeerAuthentication {
  readonly namespace: string;
  readonly name: string;
  /** As of a policy. */
  readonly revision: number;
  /** The revision at which it was made, however often it was written since. Absent: this one. */
  readonly made?: number;
  readonly selector: Readonly<Record<string, string>>;
  /** Absent: that of the next wider scope. */
  readonly mode?: PeerMode;
  /** By application port. */
  readonly ports: ReadonlyMap<number, PeerMode>;
}

/** STRICT: mutual TLS only. PERMISSIVE: plain text too; its callers are nobody, and no rule that names a caller matches them. */
export type PeerMode = 'STRICT' | 'PERMISSIVE';

/** What holds for one workload. */
export interface PeerModes {
  readonly mode: PeerMode;
  /** Application ports that have another. */
  readonly ports: ReadonlyMap<number, PeerMode>;
}
