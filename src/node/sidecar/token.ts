import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { claimsJwtSvid, verifyJwtSvid } from '../../core/identity/jwt-svid.ts';

/** Accepted tokens that are remembered, so that a caller who repeats one costs no signature check. */
const MAX_REMEMBERED = 1024;

interface Accepted {
  readonly subject: string;
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

  /** The subject of a good token; undefined for any other. */
  async verify(token: string, bundle: TrustBundle): Promise<string | undefined> {
    const accepted = this.#acceptedWith(bundle);
    const now = this.#clock.now();
    const known = accepted.get(token);
    if (known !== undefined) {
      if (now < known.expiresAt) return known.subject;
      accepted.delete(token);
    }
    try {
      const { id, expiresAt } = await verifyJwtSvid(token, { audiences: this.#audiences, bundle, now });
      if (accepted.size >= MAX_REMEMBERED) {
        const oldest = accepted.keys().next();
        if (!oldest.done) accepted.delete(oldest.value);
      }
      accepted.set(token, { subject: id.uri, expiresAt });
      return id.uri;
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
