import type { JSONWebKeySet } from 'jose';

/** What a trust domain is verified with. Bundles of different trust domains are never merged. */
export interface TrustBundle {
  readonly trustDomain: string;
  /** X.509 roots, DER. */
  readonly roots: readonly Buffer[];
  /** Public keys that verify JWT-SVIDs. */
  readonly jwks: JSONWebKeySet;
  /** Grows with every change. */
  readonly sequence: number;
}
