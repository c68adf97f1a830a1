import type { KeyObject } from 'node:crypto';

/**
 * A certificate authority above Writ's, as a house may have one: it certifies the intermediates of the replicas, and its root
 * is what everybody trusts. Writ then has no root key.
 *
 * A signing endpoint in the manner of Vault's PKI engine fits: `mint` is one request that sends a CSR or a public key and gets
 * a chain, `root` one that gets the CA certificate. docs/decisions/rotation.md says what such a plug-in has to promise.
 */
export interface UpstreamAuthority {
  /**
   * The self-signed certificate, DER, that what is minted now leads to. A new one is published in the bundle first, and used
   * when everybody has it.
   *
   * @throws AppError `unavailable`, `incompatible-data`
   */
  root(): Promise<Buffer>;
  /**
   * A certificate for an intermediate of Writ: an authority with path length 0, `keyCertSign`, and the SPIFFE ID of the trust
   * domain as its only URI name. Whatever is returned is verified before it is used.
   *
   * @returns DER: the certificate, and what stands between it and `root()`, which is left out
   * @throws AppError `unavailable`, `incompatible-data`
   */
  mint(order: MintOrder): Promise<readonly Buffer[]>;
}

export interface MintOrder {
  readonly trustDomain: string;
  /** P-256. */
  readonly publicKey: KeyObject;
  /** Random, positive, 16 octets. */
  readonly serial: Buffer;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  /** The end that is asked for; an earlier one is taken. */
  readonly notAfter: number;
}
