import { AppError } from '../../base/errors.ts';
import type { PeerIdentity } from '../../core/identity/chain.ts';
import { checkAudience } from '../../core/identity/jwt-svid.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import type { X509Svid } from '../../core/identity/x509-svid.ts';
import type { Issuing } from './enrollment.ts';
import type { Entry } from './entries.ts';

export interface SignedJwt {
  readonly token: string;
  /** Milliseconds since the epoch, as `expiresAt`. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export interface IdentitiesOptions {
  readonly authority: Issuing & {
    signJwt(request: {
      readonly id: SpiffeId;
      readonly audience: readonly string[];
      readonly ttlSeconds?: number;
    }): Promise<SignedJwt>;
  };
  readonly entries: { bySpiffeId(spiffeId: string): Promise<Entry | undefined> };
}

/**
 * Identities for workloads that have proved one, as long as they have an entry: without it nothing is issued any more, and
 * what they hold runs out.
 */
export class Identities {
  readonly #authority: IdentitiesOptions['authority'];
  readonly #entries: IdentitiesOptions['entries'];

  constructor(options: IdentitiesOptions) {
    this.#authority = options.authority;
    this.#entries = options.entries;
  }

  /**
   * The caller's identity again, of the same instance, on the key in the CSR.
   *
   * @throws AppError `forbidden` when its entry is gone, `csr-refused`
   */
  async renew(caller: PeerIdentity, csr: Uint8Array): Promise<X509Svid> {
    const { x509TtlSeconds } = await this.#entryOf(caller);
    return this.#authority.issue({
      id: caller.id,
      instanceId: caller.instanceId,
      csr,
      ...(x509TtlSeconds !== null && { ttlSeconds: x509TtlSeconds }),
    });
  }

  /**
   * A JWT-SVID that names the caller.
   *
   * @throws AppError `forbidden` when its entry is gone, `invalid` for an empty or overlong audience
   */
  async signJwt(caller: PeerIdentity, audience: string): Promise<SignedJwt> {
    checkAudience(audience);
    const { jwtTtlSeconds } = await this.#entryOf(caller);
    return this.#authority.signJwt({
      id: caller.id,
      audience: [audience],
      ...(jwtTtlSeconds !== null && { ttlSeconds: jwtTtlSeconds }),
    });
  }

  async #entryOf(caller: PeerIdentity): Promise<Entry> {
    const entry = await this.#entries.bySpiffeId(caller.id.uri);
    if (entry === undefined) {
      throw new AppError('forbidden', `${caller.id.uri} is not registered any more. Ask an operator for an entry.`);
    }
    return entry;
  }
}
