import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import type { Recorder } from '../ledger/recorder.ts';
import type { AuthorityKind } from './authorities.ts';
import { find, inState, isTrusted, wantedSoon } from './authorities.ts';
import type { Authority } from './authority.ts';
import type { AuthorityStore } from './authority-store.ts';
import { Caretaker } from './caretaker.ts';
import type { Followers } from './followers.ts';
import { AllFollowers } from './followers.ts';
import type { KeyStore } from './keys/key-store.ts';
import type { UpstreamAuthority } from './keys/upstream.ts';
import type { Actor, AuthorityStatus } from './transitions.ts';
import { Transitions } from './transitions.ts';

export type { Followers } from './followers.ts';
export type { Actor, AuthorityStatus } from './transitions.ts';

export interface RotationOptions {
  readonly authority: Pick<Authority, 'refresh' | 'lifetimes' | 'trustDomain' | 'established' | 'rootFingerprint'>;
  readonly store: AuthorityStore;
  readonly keyStore: KeyStore;
  readonly upstream?: UpstreamAuthority;
  readonly followers: readonly Followers[];
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly random?: RandomBytes;
  readonly logger: Logger;
}

/** A round that failed is not tried again before that. */
const RETRY_MS = 10_000;

/**
 * Moves authorities from state to state: on schedule, and when an admin says so. The one who writes them; everybody else
 * follows the store. Every replica runs the schedule: what two of them decide at once happens once (see `AuthorityStore`).
 *
 * Each change is recorded in the ledger before it is made; without a record there is no change.
 */
export class Rotation {
  readonly #o: RotationOptions;
  readonly #followers: AllFollowers;
  readonly #transitions: Transitions;
  readonly #caretaker: Caretaker;
  #wake: () => void = () => undefined;

  constructor(options: RotationOptions) {
    this.#o = options;
    this.#followers = new AllFollowers(options.followers);
    this.#transitions = new Transitions({ ...options, followers: this.#followers });
    this.#caretaker = new Caretaker({ ...options, followers: this.#followers, transitions: this.#transitions });
  }

  /** Those that are in the bundle, oldest first. */
  async list(): Promise<{ readonly sequence: number; readonly items: readonly AuthorityStatus[] }> {
    const set = await this.#o.store.read();
    await this.#followers.hear(set);
    return {
      sequence: set.sequence,
      items: set.records.filter(isTrusted).map((record) => this.#transitions.statusOf(record)),
    };
  }

  /**
   * Makes an authority that is in the bundle and signs nothing yet.
   *
   * @throws AppError `conflict` when one is prepared already, or when the root is that of an upstream authority; `unavailable`
   *   when the change cannot be recorded
   */
  async prepare(kind: AuthorityKind, actor: Actor): Promise<AuthorityStatus> {
    if (kind === 'x509' && this.#o.upstream !== undefined) {
      throw new AppError(
        'conflict',
        'The root is that of the upstream authority: give that one another root, and Writ prepares it within a minute.',
      );
    }
    return await this.#transitions.prepare(kind, actor);
  }

  /**
   * From now on it signs, and what did is old.
   *
   * @throws AppError `not-found`; `conflict` unless it is prepared and everybody who is connected has acknowledged the bundle
   *   that holds it, naming who has not; `unavailable` when the change cannot be recorded
   */
  async activate(id: string, actor: Actor): Promise<AuthorityStatus> {
    return await this.#transitions.change('activate', id, actor, { acknowledged: true });
  }

  /**
   * Prepares an authority, unless one is, and makes it active as soon as everybody can verify what it signs. Returns at once.
   *
   * @throws AppError as `prepare`
   */
  async rotate(kind: AuthorityKind, actor: Actor): Promise<AuthorityStatus> {
    const before = inState(await this.#o.store.read(), kind, 'prepared');
    if (actor.dryRun === true)
      return before === undefined ? await this.prepare(kind, actor) : this.#transitions.statusOf(before);
    const { id } = before ?? (await this.prepare(kind, actor));
    const after = await this.#o.store.change((set) =>
      // Somebody may have been quicker: what is active has been rotated.
      find(set, id).state === 'prepared' ? wantedSoon(set, id, this.#o.clock.now()) : set,
    );
    this.#wake();
    return this.#transitions.statusOf(find(after, id));
  }

  /**
   * It may be in wrong hands: everybody replaces what it has signed, at once, and goes on trusting it until then.
   *
   * @throws AppError `not-found`; `conflict` unless it is old; `unavailable` when the change cannot be recorded
   */
  async taint(id: string, actor: Actor): Promise<AuthorityStatus> {
    return await this.#transitions.change('taint', id, actor);
  }

  /**
   * Nobody trusts it from now on; its key is deleted.
   *
   * @throws AppError `not-found`; `conflict` unless it is tainted; `unavailable` when the change cannot be recorded
   */
  async revoke(id: string, actor: Actor): Promise<AuthorityStatus> {
    const status = await this.#transitions.change('revoke', id, actor);
    if (actor.dryRun !== true) await this.#transitions.clear();
    return status;
  }

  /** Keeps the schedule, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, store, logger } = this.#o;
    let woken = new AbortController();
    this.#wake = () => woken.abort();
    const unsubscribe = store.changes.subscribe(() => this.#wake());
    await this.#caretaker.recordEstablished();
    try {
      while (!signal.aborted) {
        let waitMs = RETRY_MS;
        woken = new AbortController();
        try {
          waitMs = await this.tick();
        } catch (error) {
          logger.warn({ err: error }, 'the authorities cannot be looked after; trying again');
        }
        await sleep(clock, waitMs, AbortSignal.any([signal, woken.signal]));
      }
    } finally {
      unsubscribe();
      this.#wake = () => undefined;
    }
  }

  /** Does what is due now. Returns after how many milliseconds to look again, if nothing changes before. */
  async tick(): Promise<number> {
    return await this.#caretaker.tick();
  }
}
