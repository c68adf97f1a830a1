import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { claimsJwtSvid, verifyJwtSvid } from '../../core/identity/jwt-svid.ts';

/** Accepted tokens that are remembered, so that a caller who repeats one costs no signature check. */
const MAX_REMEMBERED = 1024;

/** What a good token says. */
export interface GoodToken {
  readonly subject: string;
  readonly claims: Readonly<Record<string, unknown>>;
}

interface Accepted extends GoodToken {
  readonly expiresAt: number;
}

/**
 * Verifies JWT-SVIDs that callers present as `Authorization: Bearer`. Any other bearer token is the application's own
 * business and passes untouched.
 */
export class TokenVerifier {
  readonly #audiences: readonly string[];
  readonly #clock: Clock;
  /** By bundle, and gone with it: keys may have been withdrawn. */
  readonly #accepted = new WeakMap<TrustBundle, Map<string, Accepted>>();

  constructor(o: { readonly audiences: readonly string[]; readonly clock: Clock }) {
    this.#audiences = o.audiences;
    this.#clock = o.clock;
  }

  /**
   * The token in an `Authorization` value that claims to be a JWT-SVID of this trust domain, else undefined.
   */
  find(authorization: string | undefined, trustDomain: string): string | undefined {
    if (authorization === undefined) return undefined;
    // Whatever the scheme and however it is set apart: some application may read it more kindly than we do.
    return authorization.split(/[\s,]+/).find((word) => claimsJwtSvid(word, trustDomain));
  }

  /** Undefined for a token that is not good. */
  async verify(token: string, bundle: TrustBundle): Promise<GoodToken | undefined> {
    const accepted = this.#acceptedWith(bundle);
    const now = this.#clock.now();
    const known = accepted.get(token);
    if (known !== undefined) {
      if (now < known.expiresAt) return known;
      accepted.delete(token);
    }
    try {
      const { id, expiresAt, claims } = await verifyJwtSvid(token, { audiences: this.#audiences, bundle, now });
      if (accepted.size >= MAX_REMEMBERED) {
        const oldest = accepted.keys().next();
        if (!oldest.done) accepted.delete(oldest.value);
      }
      const good = Object.freeze({ subject: id.uri, claims, expiresAt });
      accepted.set(token, good);
      return good;
    } catch (error) {
      if (error instanceof AppError) return undefined;
      throw error;
    }
  }

  #acceptedWith(bundle: TrustBundle): Map<string, Accepted> {
    let accepted = this.#accepted.get(bundle);
    if (accepted === undefined) {
      accepted = new Map();
      this.#accepted.set(bundle, accepted);
    }
    return accepted;
  }
}
