import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { pooledRandom, secureRandom, uuidv7 } from '../../base/random.ts';
import type { Watch } from '../../base/watch.ts';
import { WatchSource } from '../../base/watch.ts';
import type { TrustBundle } from '../../core/identity/bundle.ts';
import { parseTrustDomain } from '../../core/identity/spiffe-id.ts';
import type { X509Svid } from '../../core/identity/x509-svid.ts';
import type { AuthoritySet } from './authorities.ts';
import { bundleOf, inState } from './authorities.ts';
import type { AuthorityStore } from './authority-store.ts';
import { MemoryAuthorities } from './authority-store.ts';
import { establish } from './establish.ts';
import type { JwtOrder, NamedToken, WitOrder, X509Order } from './issuance.ts';
import { Issuance } from './issuance.ts';
import type { KeyStore } from './keys/key-store.ts';
import type { UpstreamAuthority } from './keys/upstream.ts';
import type { Lifetimes } from './lifetimes.ts';
import { defaultLifetimes } from './lifetimes.ts';
import type { ServerIdentity, Signing, SigningOptions } from './signing.ts';
import { nextSigning } from './signing.ts';

export type { ServerIdentity } from './signing.ts';
export { SERVER_DNS_NAME } from './signing.ts';

export interface AuthorityOptions {
  readonly trustDomain: string;
  readonly keyStore: KeyStore;
  /** Where the authorities stand, for all replicas. Default: in this process, forgotten when it ends. */
  readonly store?: AuthorityStore;
  /** Who certifies our intermediates. Default: a root of our own. */
  readonly upstream?: UpstreamAuthority;
  readonly clock: Clock;
  /** Serial numbers and ids. Default: the operating system's. Keys are always made from that. */
  readonly random?: RandomBytes;
  readonly logger: Logger;
  readonly lifetimes?: Partial<Lifetimes>;
  /** `iss` of JWT-SVIDs: the URL under which OpenID Connect discovery is served. Default none. */
  readonly jwtIssuer?: string;
}

/** After a renewal that failed. */
const RETRY_MS = 10_000;

/**
 * The certificate authority of a trust domain, as one replica of the control plane runs it: it signs with what is active and
 * shows what everybody verifies with. Which authorities there are and in which state is the store's; `Rotation` changes it, and
 * every replica follows.
 *
 * Root and token keys are in the key store. The intermediate that signs X.509-SVIDs is made at start, lives in this process's
 * memory, and is replaced at half its life. Bundles hold roots, so replacing intermediates changes nothing for anybody; nor
 * does another active root: nobody replaces an identity because of it, so a rotation causes no burst of signatures.
 */
export class Authority {
  readonly trustDomain: string;
  readonly bundle: Watch<TrustBundle>;
  readonly serverIdentity: Watch<ServerIdentity>;
  readonly lifetimes: Lifetimes;
  /** Ids of the authorities that were made, or taken over from an earlier version, when this was opened. */
  readonly established: readonly string[];

  readonly #clock: Clock;
  readonly #random: RandomBytes;
  readonly #logger: Logger;
  readonly #store: AuthorityStore;
  readonly #options: AuthorityOptions;
  readonly #instanceId: string;
  readonly #bundle: WatchSource<TrustBundle>;
  readonly #serverIdentity: WatchSource<ServerIdentity>;
  readonly #issuance: Issuance;
  #signing: Signing;
  #refreshing: Promise<void> | undefined;
  #refreshAgain = false;
  #wake: () => void = () => undefined;

  /**
   * Loads the authorities or, in an empty store with an empty key store, makes them; then makes an intermediate and the control
   * plane's own identity.
   *
   * @throws AppError `invalid` for a bad trust domain; `incompatible-data` for keys of another trust domain, damaged ones, and
   *   missing ones: a root that was lost is never replaced unsaid; `unavailable` when the root has ended or has not begun; and
   *   what the key store throws
   */
  static async open(options: AuthorityOptions): Promise<Authority> {
    const trustDomain = parseTrustDomain(options.trustDomain);
    const lifetimes = { ...defaultLifetimes, ...options.lifetimes };
    const random = pooledRandom(options.random ?? secureRandom);
    const store = options.store ?? new MemoryAuthorities();
    const { keyStore, upstream, logger, clock } = options;
    const now = clock.now();
    const { set, made } = await establish({ trustDomain, keyStore, store, upstream, now, random, lifetimes, logger });
    checkRootValidity(set, now);
    const instanceId = uuidv7(clock, random);
    const signing = await nextSigning(set, undefined, {
      trustDomain,
      keyStore,
      upstream,
      now,
      random,
      lifetimes,
      instanceId,
    });
    return new Authority({ ...options, trustDomain, store, random }, { lifetimes, instanceId, signing, made });
  }

  private constructor(
    options: AuthorityOptions & Required<Pick<AuthorityOptions, 'store' | 'random'>>,
    o: {
      readonly lifetimes: Lifetimes;
      readonly instanceId: string;
      readonly signing: Signing;
      readonly made: readonly string[];
    },
  ) {
    this.trustDomain = options.trustDomain;
    this.lifetimes = Object.freeze(o.lifetimes);
    this.established = o.made;
    this.#options = options;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#logger = options.logger;
    this.#store = options.store;
    this.#instanceId = o.instanceId;
    this.#signing = o.signing;
    this.#bundle = new WatchSource(bundleOf(o.signing.set, this.trustDomain));
    this.bundle = this.#bundle;
    this.#serverIdentity = new WatchSource(o.signing.listener.identity);
    this.serverIdentity = this.#serverIdentity;
    this.#issuance = new Issuance({
      trustDomain: this.trustDomain,
      lifetimes: this.lifetimes,
      jwtIssuer: options.jwtIssuer,
      clock: this.#clock,
      random: this.#random,
      signing: () => this.#signing,
      renew: () => this.#wake(),
    });
    this.#complain([], o.signing.problems);
  }

  /**
   * SHA-256 of the root certificate that the listener hangs from, lower-case hex: what newcomers pin. Changes late: a new root
   * takes over here when the one before leaves the bundle.
   */
  get rootFingerprint(): string {
    return this.#signing.listener.root.name;
  }

  /** The authorities, as this replica knows them. */
  get set(): AuthoritySet {
    return this.#signing.set;
  }

  /** What is wrong with keys or with the upstream authority, for people. Empty when all is well. */
  get problems(): readonly string[] {
    return this.#signing.problems;
  }

  /**
   * An X.509-SVID for whoever holds the key of this signing request. That `id` is the caller's is for the caller of this method
   * to know; names in the request are ignored. It may end earlier than asked for: it never outlives the intermediate.
   *
   * @throws AppError `csr-refused`; `invalid` for a bad instance id, DNS name or lifetime, or an id of another trust domain;
   *   `forbidden` for the control plane's own identity, which nobody else gets; `unavailable` when the intermediate has ended
   *   and the next one is not there yet
   */
  issue(o: X509Order): X509Svid {
    return this.#issuance.issue(o);
  }

  /**
   * A JWT-SVID. That `id` is the caller's is for the caller of this method to know. It may end earlier than asked for: it never
   * outlives the key.
   *
   * @throws AppError `invalid` for bad audiences, claims or a bad lifetime, or an id of another trust domain; `forbidden` for
   *   the control plane's own identity; `unavailable` when the key has ended, or who holds it is away
   */
  async signJwt(o: JwtOrder): Promise<NamedToken> {
    return await this.#issuance.signJwt(o);
  }

  /**
   * A WIT-SVID on the workload's key. That `id` is the caller's, and the key too, is for the caller of this method to know.
   *
   * @throws AppError as `signJwt`, and `invalid` for a key that is too weak
   */
  async signWit(o: WitOrder): Promise<NamedToken> {
    return await this.#issuance.signWit(o);
  }

  /**
   * Follows the store: when this resolves, everything that was stored before the call is in force here. Calls while it works
   * are served by one more round.
   */
  refresh(): Promise<void> {
    if (this.#refreshing !== undefined) {
      this.#refreshAgain = true;
      return this.#refreshing;
    }
    this.#refreshing = this.#refreshUntilSettled();
    return this.#refreshing;
  }

  /** Follows the store, and replaces at half their lives what this process signs with, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let woken = new AbortController();
    this.#wake = () => woken.abort();
    const unsubscribe = this.#store.changes.subscribe(() => this.#wake());
    try {
      while (!signal.aborted) {
        const { dueAt } = this.#signing;
        await sleep(this.#clock, dueAt - this.#clock.now(), AbortSignal.any([signal, woken.signal]));
        if (signal.aborted) return;
        woken = new AbortController();
        try {
          await this.refresh();
        } catch (error) {
          // What is there goes on serving until it ends.
          this.#logger.error({ err: error }, 'renewal failed; trying again');
          await sleep(this.#clock, RETRY_MS, signal);
        }
      }
    } finally {
      unsubscribe();
      this.#wake = () => undefined;
    }
  }

  async #refreshUntilSettled(): Promise<void> {
    try {
      do {
        this.#refreshAgain = false;
        this.#adopt(await this.#next());
      } while (this.#refreshAgain);
    } finally {
      // In the same breath as the check above: a change in between would be missed.
      this.#refreshing = undefined;
    }
  }

  async #next(): Promise<Signing> {
    const { keyStore, upstream } = this.#options;
    const options: SigningOptions = {
      trustDomain: this.trustDomain,
      keyStore,
      upstream,
      now: this.#clock.now(),
      random: this.#random,
      lifetimes: this.lifetimes,
      instanceId: this.#instanceId,
    };
    return await nextSigning(await this.#store.read(), this.#signing, options);
  }

  /** The listener first: it must never present a chain to a root that the bundle does not hold any more. */
  #adopt(next: Signing): void {
    const before = this.#signing;
    this.#signing = next;
    if (next.issuing !== before.issuing) this.#logger.info('intermediate renewed');
    if (next.listener !== before.listener) this.#serverIdentity.set(next.listener.identity);
    if (next.set.sequence !== this.#bundle.current.sequence) this.#bundle.set(bundleOf(next.set, this.trustDomain));
    this.#complain(before.problems, next.problems);
  }

  #complain(before: readonly string[], now: readonly string[]): void {
    for (const problem of now) if (!before.includes(problem)) this.#logger.error({ problem }, 'a key is not usable');
  }
}

/** Without a root that is valid there is nothing that a refresh could mend. */
function checkRootValidity(set: AuthoritySet, now: number): void {
  const root = inState(set, 'x509', 'active');
  if (root === undefined) return;
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
      `The root certificate ended at ${ended}. Begin anew with an empty data directory, and enroll every workload again.`,
    );
  }
}
