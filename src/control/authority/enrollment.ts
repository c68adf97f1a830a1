import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseCsr } from '../../core/identity/csr.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import { parseSpiffeId } from '../../core/identity/spiffe-id.ts';
import type { X509Svid } from '../../core/identity/x509-svid.ts';
import type { Entry } from './entries.ts';

/** What enrollment and renewal need of the authority. */
export interface Issuing {
  issue(request: {
    readonly id: SpiffeId;
    readonly instanceId: string;
    readonly csr: Uint8Array;
    readonly ttlSeconds?: number;
  }): X509Svid;
}

export interface EnrollmentOptions {
  readonly authority: Issuing & { readonly bundle: Watch<TrustBundle> };
  readonly joinTokens: { redeem(token: string): Promise<Entry> };
  readonly clock: Clock;
  readonly random?: RandomBytes;
  readonly logger: Logger;
}

export interface Attested {
  readonly svid: X509Svid;
  readonly entry: Entry;
  readonly bundle: TrustBundle;
}

/** The first identity of a workload that has none: it shows what entitles it to an entry, and gets that entry's identity. */
export class Enrollment {
  readonly #authority: EnrollmentOptions['authority'];
  readonly #joinTokens: EnrollmentOptions['joinTokens'];
  readonly #clock: Clock;
  readonly #random: RandomBytes;
  readonly #logger: Logger;

  constructor(options: EnrollmentOptions) {
    this.#authority = options.authority;
    this.#joinTokens = options.joinTokens;
    this.#clock = options.clock;
    this.#random = options.random ?? secureRandom;
    this.#logger = options.logger;
  }

  /**
   * @param attestation.method `join_token` is the only one so far, its payload the token
   * @throws AppError `invalid` for another method, `csr-refused`, `join-token-refused`
   */
  async attest(attestation: {
    readonly method: string;
    /** Attacker-controlled, as `csr`. */
    readonly payload: Buffer;
    readonly csr: Uint8Array;
    /** Address of the caller, for the log. */
    readonly source?: string;
  }): Promise<Attested> {
    const { method, payload, csr, source } = attestation;
    if (method !== 'join_token') {
      throw new AppError('invalid', 'The attestation method is not known here; join_token is.');
    }
    return this.attestJoinToken(payload.toString('utf8'), csr, source);
  }

  /** The token is used up only by a request that can be granted: a bad CSR leaves it as it was. */
  async attestJoinToken(token: string, csr: Uint8Array, source?: string): Promise<Attested> {
    parseCsr(csr);
    const entry = await this.#joinTokens.redeem(token);
    const svid = this.#authority.issue({
      id: parseSpiffeId(entry.spiffeId),
      instanceId: uuidv7(this.#clock, this.#random),
      csr,
      ...(entry.x509TtlSeconds !== null && { ttlSeconds: entry.x509TtlSeconds }),
    });
    const { instanceId, serial } = svid;
    this.#logger.info({ spiffeId: entry.spiffeId, instanceId, serial, source }, 'enrolled with a join token');
    return { svid, entry, bundle: this.#authority.bundle.current };
  }
}
