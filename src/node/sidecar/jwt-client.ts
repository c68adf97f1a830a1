import { decodeProtectedHeader } from 'jose';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { jwtKeys } from '../../core/identity/bundle.ts';
import { checkAudience } from '../../core/identity/jwt-svid.ts';
import { fromServiceError } from '../../wire/errors.ts';
import type { IssuedToken } from '../../wire/identity.ts';
import { fromSignJwtResponse, toSignJwtRequest } from '../../wire/identity-sign.ts';
import type { ControlPlaneClients } from './control-plane.ts';

/** Audiences whose tokens are kept. */
const MAX_KEPT = 256;
const CALL_TIMEOUT_MS = 5_000;

/** Fetches JWT-SVIDs for the application, one per audience, and hands each out again until half of its life has passed. */
export class JwtClient {
  readonly #clients: Watch<ControlPlaneClients>;
  readonly #bundle: Watch<TrustBundle>;
  readonly #clock: Clock;
  readonly #kept = new Map<string, IssuedToken>();
  readonly #asked = new Map<string, Promise<IssuedToken>>();

  constructor(o: {
    readonly clients: Watch<ControlPlaneClients>;
    /** Tokens whose key is tainted, or is not in it any more, are not handed out again. */
    readonly bundle: Watch<TrustBundle>;
    readonly clock: Clock;
  }) {
    this.#clients = o.clients;
    this.#bundle = o.bundle;
    this.#clock = o.clock;
  }

  /** Rejects with `invalid` for a bad audience, or with what the control plane said. */
  async get(audience: string): Promise<IssuedToken> {
    checkAudience(audience);
    const kept = this.#kept.get(audience);
    const now = this.#clock.now();
    if (kept !== undefined && now < (kept.issuedAt + kept.expiresAt) / 2 && this.#isGood(kept)) return kept;
    try {
      return await this.#fetchOnce(audience);
    } catch (error) {
      // In its second half it is still good, and better than none while the control plane is away.
      if (kept !== undefined && this.#clock.now() < kept.expiresAt && isAway(error)) return kept;
      throw error;
    }
  }

  #isGood({ token }: IssuedToken): boolean {
    const bundle = this.#bundle.current;
    try {
      const { kid = '' } = decodeProtectedHeader(token);
      return jwtKeys(bundle).some((key) => key.kid === kid) && bundle.tainted?.includes(kid) !== true;
    } catch {
      return false;
    }
  }

  /** Callers who ask at the same time share one answer. */
  #fetchOnce(audience: string): Promise<IssuedToken> {
    let asked = this.#asked.get(audience);
    if (asked === undefined) {
      asked = this.#fetch(audience).finally(() => this.#asked.delete(audience));
      this.#asked.set(audience, asked);
    }
    return asked;
  }

  async #fetch(audience: string): Promise<IssuedToken> {
    const token = await new Promise<IssuedToken>((resolve, reject) => {
      const options = { deadline: Date.now() + CALL_TIMEOUT_MS };
      this.#clients.current.identity.signJwt(toSignJwtRequest({ audience: [audience] }), options, (error, response) => {
        if (error !== null) return reject(fromServiceError(error));
        try {
          if (response === undefined) throw new AppError('unavailable', 'The control plane sent no token.');
          resolve(fromSignJwtResponse(response));
        } catch (cause) {
          reject(cause);
        }
      });
    });
    if (this.#kept.size >= MAX_KEPT) {
      const oldest = this.#kept.keys().next();
      if (!oldest.done) this.#kept.delete(oldest.value);
    }
    this.#kept.set(audience, token);
    return token;
  }
}

function isAway(error: unknown): boolean {
  return error instanceof AppError && (error.code === 'unavailable' || error.code === 'deadline-exceeded');
}
