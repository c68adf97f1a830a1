import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { pooledRandom, secureRandom, uuidv7 } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { fingerprint } from '../../core/identity/bundle.ts';
import type { Issuer } from '../../core/identity/ca.ts';
import { createIntermediate } from '../../core/identity/ca.ts';
import { parseCsr } from '../../core/identity/csr.ts';
import type { SignedToken } from '../../core/identity/jwt-svid.ts';
import { signJwtSvid } from '../../core/identity/jwt-svid.ts';
import { generateKeyPair } from '../../core/identity/keys.ts';
import type { SpiffeId } from '../../core/identity/spiffe-id.ts';
import { controlPlaneId, parseTrustDomain } from '../../core/identity/spiffe-id.ts';
import { signWitSvid } from '../../core/identity/wit-svid.ts';
import type { X509Svid } from '../../core/identity/x509-svid.ts';
import { issueX509Svid } from '../../core/identity/x509-svid.ts';
import type { KeyStore } from './key-store.ts';
import type { Lifetimes } from './lifetimes.ts';
import { defaultLifetimes } from './lifetimes.ts';
import type { JwtMaterial, RootMaterial } from './material.ts';
import { newSerial, openMaterial } from './material.ts';

/** What the control plane's own listener presents. */
export interface ServerIdentity {
  /** DER: leaf, intermediate. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

export interface AuthorityOptions {
  readonly trustDomain: string;
  readonly keyStore: KeyStore;
  readonly clock: Clock;
  /** Serial numbers. Default: the operating system's. Keys are always made from that. */
  readonly random?: RandomBytes;
  readonly logger: Logger;
  readonly lifetimes?: Partial<Lifetimes>;
}

/** The host name in the control plane's certificate, for TLS libraries that want one. Clients check the SPIFFE ID. */
export const SERVER_DNS_NAME = 'writ-control-plane';

/** A new root takes planning: it is asked for well before the old one ends. */
const ROOT_WARNING_DAYS = 30;
/** After a renewal that failed. */
const RETRY_MS = 10_000;
const dayMs = 24 * 3600 * 1000;

interface CurrentIntermediate {
  readonly issuer: Issuer;
  /** Half its life: when the next one takes over. Milliseconds since the epoch. */
  readonly renewAt: number;
}

/**
 * The certificate authority of a trust domain, as one replica of the control plane runs it. The root and the JWT key are kept in
 * the key store and only loaded; the intermediate that signs is made at start, lives in this process's memory, and is replaced
 * at half its life. The bundle holds the root, so replacing intermediates changes nothing for anybody.
 *
 * Not solved here: replacing the root or the JWT key while the mesh runs. A root that is about to end is announced in the log.
 */
export class Authority {
  readonly trustDomain: string;
  /** SHA-256 of the root certificate, lower-case hex: what newcomers pin. */
  readonly rootFingerprint: string;
  readonly bundle: Watch<TrustBundle>;
  readonly serverIdentity: Watch<ServerIdentity>;

  readonly #clock: Clock;
  readonly #random: RandomBytes;
  readonly #logger: Logger;
  readonly #lifetimes: Lifetimes;
  readonly #instanceId: string;
  readonly #root: RootMaterial;
  readonly #jwt: JwtMaterial;
  readonly #serverIdentity: WatchSource<ServerIdentity>;
  #intermediate: CurrentIntermediate;
  #renewServerAt: number;

  /**
   * Loads the keys or, in an empty key store, makes them; then makes an intermediate and the control plane's own identity.
   *
   * @throws AppError `invalid` for a bad trust domain; `incompatible-data` for a key store of another trust domain or damaged
   *   keys; `unavailable` when the root has ended or has not begun; and what the key store throws
   */
  static async open(options: AuthorityOptions): Promise<Authority> {
    const trustDomain = parseTrustDomain(options.trustDomain);
    const lifetimes = { ...defaultLifetimes, ...options.lifetimes };
    const random = pooledRandom(options.random ?? secureRandom);
    const now = options.clock.now();
    const { root, jwt } = await openMaterial({ trustDomain, keyStore: options.keyStore, now, random, lifetimes });
    checkRootValidity(root, now);
    return new Authority(options, { trustDomain, lifetimes, random, root, jwt });
  }

  private constructor(
    options: AuthorityOptions,
    o: {
      readonly trustDomain: string;
      readonly lifetimes: Lifetimes;
      readonly random: RandomBytes;
      readonly root: RootMaterial;
      readonly jwt: JwtMaterial;
    },
  ) {
    this.trustDomain = o.trustDomain;
    this.rootFingerprint = fingerprint(o.root.issuer.certificate);
    this.#clock = options.clock;
    this.#random = o.random;
    this.#logger = options.logger;
    this.#lifetimes = o.lifetimes;
    this.#instanceId = uuidv7(options.clock, o.random);
    this.#root = o.root;
    this.#jwt = o.jwt;
    this.#announce();
    this.bundle = new WatchSource(bundleOf(o.trustDomain, o.root, o.jwt));
    this.#intermediate = this.#makeIntermediate();
    const server = this.#makeServerIdentity();
    this.#renewServerAt = server.renewAt;
    this.#serverIdentity = new WatchSource(server.identity);
    this.serverIdentity = this.#serverIdentity;
  }

  /**
   * An X.509-SVID for whoever holds the key of this signing request. That `id` is the caller's is for the caller of this method
   * to know; names in the request are ignored. It may end earlier than asked for: it never outlives the intermediate.
   *
   * @throws AppError `csr-refused`; `invalid` for a bad instance id or lifetime, or an id of another trust domain; `forbidden` for
   *   the control plane's own identity, which nobody else gets
   */
  issue(o: {
    readonly id: SpiffeId;
    readonly instanceId: string;
    /** PKCS #10, DER. */
    readonly csr: Uint8Array;
    /** 1 to 86,400. Default 3600. */
    readonly ttlSeconds?: number;
    /** Lower-case host names without wildcards; at most 16. Default none. */
    readonly dnsNames?: readonly string[];
  }): X509Svid {
    this.#checkSubject(o.id);
    const ttlSeconds = checkTtl(o.ttlSeconds, this.#lifetimes.x509Seconds, this.#lifetimes.x509MaxSeconds);
    const { checked } = parseCsr(o.csr);
    const now = this.#clock.now();
    // A machine that slept through the renewal must not sign with what has ended meanwhile.
    if (now >= this.#intermediate.renewAt) this.#intermediate = this.#makeIntermediate();
    return issueX509Svid(this.#intermediate.issuer, {
      id: o.id,
      instanceId: o.instanceId,
      publicKey: checked,
      notBefore: now - this.#lifetimes.backdateSeconds * 1000,
      notAfter: now + ttlSeconds * 1000,
      serial: newSerial(this.#random),
      ...(o.dnsNames !== undefined && { dnsNames: o.dnsNames }),
    });
  }

  /**
   * A JWT-SVID for one audience. That `id` is the caller's is for the caller of this method to know.
   *
   * @throws AppError `invalid` for a bad audience or lifetime, or an id of another trust domain; `forbidden` for the control
   *   plane's own identity
   */
  async signJwt(o: {
    readonly id: SpiffeId;
    readonly audience: readonly string[];
    /** 1 to 3600. Default 300. */
    readonly ttlSeconds?: number;
    readonly claims?: Readonly<Record<string, unknown>>;
  }): Promise<SignedToken> {
    this.#checkSubject(o.id);
    const ttlSeconds = checkTtl(o.ttlSeconds, this.#lifetimes.jwtSeconds, this.#lifetimes.jwtMaxSeconds);
    return await signJwtSvid({
      id: o.id,
      audience: o.audience,
      kid: this.#jwt.kid,
      privateKey: this.#jwt.privateKey,
      now: this.#clock.now(),
      ttlSeconds,
      jti: uuidv7(this.#clock, this.#random),
      ...(o.claims !== undefined && { claims: o.claims }),
    });
  }

  /**
   * A WIT-SVID on the workload's key. That `id` is the caller's, and the key too, is for the caller of this method to know.
   *
   * @throws AppError as `signJwt`, and `invalid` for a key that is too weak
   */
  async signWit(o: {
    readonly id: SpiffeId;
    readonly publicKey: KeyObject;
    /** 1 to 86,400. Default 3600. */
    readonly ttlSeconds?: number;
  }): Promise<SignedToken> {
    this.#checkSubject(o.id);
    return await signWitSvid({
      id: o.id,
      publicKey: o.publicKey,
      kid: this.#jwt.kid,
      privateKey: this.#jwt.privateKey,
      now: this.#clock.now(),
      ttlSeconds: o.ttlSeconds ?? 3600,
      jti: uuidv7(this.#clock, this.#random),
    });
  }

  /** Renews the intermediate and the control plane's own identity at half their lives, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const due = Math.min(this.#intermediate.renewAt, this.#renewServerAt);
      await sleep(this.#clock, due - this.#clock.now(), signal);
      if (signal.aborted) return;
      try {
        this.#renewWhatIsDue();
      } catch (error) {
        // What is there goes on serving until it ends.
        this.#logger.error({ err: error }, 'renewal failed; trying again');
        await sleep(this.#clock, RETRY_MS, signal);
      }
    }
  }

  #renewWhatIsDue(): void {
    const now = this.#clock.now();
    if (now >= this.#intermediate.renewAt) {
      this.#intermediate = this.#makeIntermediate();
      this.#logger.info('intermediate renewed');
      this.#announce();
    }
    if (now >= this.#renewServerAt) {
      const { identity, renewAt } = this.#makeServerIdentity();
      this.#renewServerAt = renewAt;
      this.#serverIdentity.set(identity);
    }
  }

  #makeIntermediate(): CurrentIntermediate {
    const now = this.#clock.now();
    const { privateKey, publicKey } = generateKeyPair();
    const certificate = createIntermediate({
      trustDomain: this.trustDomain,
      root: this.#root.issuer,
      publicKey,
      serial: newSerial(this.#random),
      notBefore: now - this.#lifetimes.backdateSeconds * 1000,
      notAfter: now + this.#lifetimes.intermediateSeconds * 1000,
    });
    const notAfter = Math.min(now + this.#lifetimes.intermediateSeconds * 1000, this.#root.notAfter);
    return { issuer: { certificate, chain: [certificate], privateKey }, renewAt: halfLife(now, notAfter) };
  }

  #makeServerIdentity(): { readonly identity: ServerIdentity; readonly renewAt: number } {
    const now = this.#clock.now();
    const { privateKey, publicKey } = generateKeyPair();
    const svid = issueX509Svid(this.#intermediate.issuer, {
      id: controlPlaneId(this.trustDomain),
      instanceId: this.#instanceId,
      publicKey,
      notBefore: now - this.#lifetimes.backdateSeconds * 1000,
      notAfter: now + this.#lifetimes.serverSeconds * 1000,
      serial: newSerial(this.#random),
      dnsNames: [SERVER_DNS_NAME],
    });
    const identity = Object.freeze({ chain: svid.chain, privateKey, notAfter: svid.notAfter });
    return { identity, renewAt: halfLife(now, svid.notAfter) };
  }

  #checkSubject(id: SpiffeId): void {
    if (id.trustDomain !== this.trustDomain || id.path === '') {
      throw new AppError('invalid', `${id.uri} is not a workload of the trust domain ${this.trustDomain}.`);
    }
    if (id.uri === controlPlaneId(this.trustDomain).uri) {
      throw new AppError('forbidden', 'The identity of the control plane is not given to anybody.');
    }
  }

  #announce(): void {
    const fields = { trustDomain: this.trustDomain, rootFingerprint: this.rootFingerprint };
    if (this.#root.isNew) this.#logger.info(fields, 'made a new root');
    const daysLeft = Math.floor((this.#root.notAfter - this.#clock.now()) / dayMs);
    if (daysLeft < ROOT_WARNING_DAYS) {
      this.#logger.warn({ ...fields, daysLeft }, 'the root certificate ends soon, and with it every identity below it');
    }
  }
}

function bundleOf(trustDomain: string, root: RootMaterial, jwt: JwtMaterial): TrustBundle {
  return Object.freeze({
    trustDomain,
    roots: Object.freeze([root.issuer.certificate]),
    jwks: { keys: [jwt.publicJwk] },
    // Seconds since the newest part was made: survives restarts and grows with every change, without being stored.
    sequence: Math.floor(Math.max(root.createdAt, jwt.createdAt) / 1000),
  });
}

function checkRootValidity(root: RootMaterial, now: number): void {
  if (now < root.notBefore) {
    const since = new Date(root.notBefore).toISOString();
    throw new AppError(
      'unavailable',
      `The root certificate is not valid before ${since}. Set the clock of this machine.`,
    );
  }
  if (now >= root.notAfter) {
    const ended = new Date(root.notAfter).toISOString();
    throw new AppError(
      'unavailable',
      `The root certificate ended at ${ended}. Begin anew with an empty key store, and enroll every workload again.`,
    );
  }
}

/** Not sooner than in a second: what is capped to the end of the root would be renewed ever faster as that draws near. */
function halfLife(now: number, notAfter: number): number {
  return now + Math.max((notAfter - now) / 2, 1000);
}

function checkTtl(asked: number | undefined, usual: number, longest: number): number {
  const ttl = asked ?? usual;
  if (!Number.isSafeInteger(ttl) || ttl < 1 || ttl > longest) {
    throw new AppError('invalid', `A lifetime is a whole number of seconds from 1 to ${longest}.`);
  }
  return ttl;
}
