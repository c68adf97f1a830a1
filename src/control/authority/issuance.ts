import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { RandomBytes } from '../../base/random.ts';
import { uuidv7 } from '../../base/random.ts';
import { parseCsr } from '../../core/identity/csr.ts';
import type { SignedToken } from '../../core/identity/jwt-svid.ts';
import { signJwtSvid } from '../../core/identity/jwt-svid.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import { controlPlaneId } from '../../core/identity/spiffe-id.ts';
import { signWitSvid } from '../../core/identity/wit-svid.ts';
import type { X509Svid } from '../../core/identity/x509-svid.ts';
import { issueX509Svid } from '../../core/identity/x509-svid.ts';
import type { Lifetimes } from './lifetimes.ts';
import { newSerial } from './make-authority.ts';
import type { Signing } from './signing.ts';

/** What an X.509-SVID is to be made of. */
export interface X509Order {
  readonly id: SpiffeId;
  readonly instanceId: string;
  /** PKCS #10, DER. */
  readonly csr: Uint8Array;
  /** 1 to 86,400. Default 3600. */
  readonly ttlSeconds?: number;
  /** Lower-case host names without wildcards; at most 16. Default none. */
  readonly dnsNames?: readonly string[];
}

/** What a JWT-SVID is to be made of. */
export interface JwtOrder {
  readonly id: SpiffeId;
  readonly audience: readonly string[];
  /** 1 to 3600. Default 300. */
  readonly ttlSeconds?: number;
  /** More claims; not those that Writ sets. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

/** What a WIT-SVID is to be made of. */
export interface WitOrder {
  readonly id: SpiffeId;
  readonly publicKey: KeyObject;
  /** 1 to 86,400. Default 3600. */
  readonly ttlSeconds?: number;
}

/** A token, and the name that it has in the record. */
export type NamedToken = SignedToken & { readonly jti: string };

export interface IssuanceOptions {
  readonly trustDomain: string;
  readonly lifetimes: Lifetimes;
  readonly jwtIssuer?: string | undefined;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** What is in force at the moment. */
  readonly signing: () => Signing;
  /** Asks for the next intermediate; it is there later. */
  readonly renew: () => void;
}

/** Signs with what is in force: the signatures of `Authority`, and the limits of what it signs. */
export class Issuance {
  readonly #o: IssuanceOptions;

  constructor(options: IssuanceOptions) {
    this.#o = options;
  }

  /** See `Authority`. */
  issue(o: X509Order): X509Svid {
    this.#checkSubject(o.id);
    const ttlSeconds = checkTtl(o.ttlSeconds, this.#o.lifetimes.x509Seconds, this.#o.lifetimes.x509MaxSeconds);
    const publicKey = parseCsr(o.csr);
    const now = this.#o.clock.now();
    // A machine that slept through the renewal makes it up now; what has not ended meanwhile still signs.
    if (now >= this.#o.signing().issuing.renewAt) this.#o.renew();
    return issueX509Svid(this.#o.signing().issuing.issuer, {
      id: o.id,
      instanceId: o.instanceId,
      publicKey,
      notBefore: now - this.#o.lifetimes.backdateSeconds * 1000,
      notAfter: now + ttlSeconds * 1000,
      serial: newSerial(this.#o.random),
      ...(o.dnsNames !== undefined && { dnsNames: o.dnsNames }),
    });
  }

  /** See `Authority`. */
  async signJwt(o: JwtOrder): Promise<NamedToken> {
    this.#checkSubject(o.id);
    const ttlSeconds = checkTtl(o.ttlSeconds, this.#o.lifetimes.jwtSeconds, this.#o.lifetimes.jwtMaxSeconds);
    const { record, key } = this.#o.signing().jwt;
    const { jwtIssuer } = this.#o;
    const jti = uuidv7(this.#o.clock, this.#o.random);
    const signed = await signJwtSvid({
      id: o.id,
      audience: o.audience,
      kid: record.name,
      privateKey: key,
      now: this.#o.clock.now(),
      ttlSeconds,
      notAfter: record.notAfter,
      jti,
      ...(jwtIssuer !== undefined && { issuer: jwtIssuer }),
      ...(o.claims !== undefined && { claims: o.claims }),
    });
    return { ...signed, jti };
  }

  /** See `Authority`. */
  async signWit(o: WitOrder): Promise<NamedToken> {
    this.#checkSubject(o.id);
    const ttlSeconds = checkTtl(o.ttlSeconds, this.#o.lifetimes.witSeconds, this.#o.lifetimes.witMaxSeconds);
    const { record, key } = this.#o.signing().wit;
    const jti = uuidv7(this.#o.clock, this.#o.random);
    const signed = await signWitSvid({
      id: o.id,
      publicKey: o.publicKey,
      kid: record.name,
      privateKey: key,
      now: this.#o.clock.now(),
      ttlSeconds,
      notAfter: record.notAfter,
      jti,
    });
    return { ...signed, jti };
  }

  #checkSubject(id: SpiffeId): void {
    if (id.trustDomain !== this.#o.trustDomain || id.path === '') {
      throw new AppError('invalid', `${id.uri} is not a workload of the trust domain ${this.#o.trustDomain}.`);
    }
    if (id.uri === controlPlaneId(this.#o.trustDomain).uri) {
      throw new AppError('forbidden', 'The identity of the control plane is not given to anybody.');
    }
  }
}

function checkTtl(asked: number | undefined, usual: number, longest: number): number {
  const ttl = asked ?? usual;
  if (!Number.isSafeInteger(ttl) || ttl < 1 || ttl > longest) {
    throw new AppError('invalid', `A lifetime is a whole number of seconds from 1 to ${longest}.`);
  }
  return ttl;
}
