import type { Clock } from '../../base/clock.ts';
import type { AppError } from '../../base/errors.ts';
import { toAppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import { trustDomainId } from '../../core/identity/spiffe-id.ts';
import type { Recorder } from '../ledger/recorder.ts';
import type { AuthorityKind, AuthorityMaterial, AuthorityRecord, AuthoritySet } from './authorities.ts';
import {
  activated,
  checkNonePrepared,
  find,
  inState,
  prepared,
  retired,
  revoked,
  tainted,
  withoutRecords,
  withRecords,
} from './authorities.ts';
import type { Authority } from './authority.ts';
import type { AuthorityStore } from './authority-store.ts';
import type { AllFollowers } from './followers.ts';
import type { KeyStore } from './keys/key-store.ts';
import type { Lifetimes } from './lifetimes.ts';
import { belowMs } from './lifetimes.ts';
import { makeMaterial, newRecord } from './make-authority.ts';

/** Who wants a change. */
export interface Actor {
  /** Name of the admin, or `control-plane`. */
  readonly name: string;
  /** Network address; empty for the control plane. */
  readonly source: string;
  /** Check everything, change and record nothing, answer with what would be. Default not. */
  readonly dryRun?: boolean | undefined;
}

export interface TransitionsOptions {
  readonly authority: Pick<Authority, 'refresh' | 'lifetimes' | 'trustDomain' | 'rootFingerprint'>;
  readonly store: AuthorityStore;
  readonly keyStore: KeyStore;
  readonly followers: AllFollowers;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly random?: RandomBytes;
  readonly logger: Logger;
}

/** An authority, for people. */
export interface AuthorityStatus extends Omit<AuthorityRecord, 'state' | 'keyName' | 'jwk'> {
  /** What is revoked is gone, and shown once. */
  readonly state: 'prepared' | 'active' | 'old' | 'tainted' | 'revoked';
  /** Whether it is the root that the control plane's own listener hangs from: the one to pin. */
  readonly listener: boolean;
  /** Whether it is the root of an upstream authority. */
  readonly upstream: boolean;
  /** Of one that is prepared: who cannot verify yet what it will sign. */
  readonly missing: readonly string[];
}

const ACTIONS = {
  prepare: 'authority.prepare',
  activate: 'authority.activate',
  taint: 'authority.taint',
  revoke: 'authority.revoke',
  retire: 'authority.retire',
} as const;

export type Action = keyof typeof ACTIONS;
type Step = (set: AuthoritySet, id: string, now: number, lifetimes: Lifetimes) => AuthoritySet;

/** What becomes of the authorities; each refuses what is not in the state that it begins at. */
const STEPS: Readonly<Record<Exclude<Action, 'prepare'>, Step>> = {
  activate: (set, id, now, lifetimes) => activated(set, id, now, belowMs(find(set, id).kind, lifetimes)),
  taint: tainted,
  revoke: revoked,
  retire: retired,
};

/**
 * The changes that an authority can undergo, whoever wants them. Each is recorded in the ledger before it is made, and refused
 * ones as refused; without a record there is no change. Afterwards it is in force in this process.
 */
export class Transitions {
  readonly #o: TransitionsOptions;
  readonly #followers: AllFollowers;
  readonly #random: RandomBytes;

  constructor(options: TransitionsOptions) {
    this.#o = options;
    this.#followers = options.followers;
    this.#random = options.random ?? secureRandom;
  }

  /**
   * Makes an authority, in the order that `establish.ts` explains: a trace, the key, and then it shows.
   *
   * @throws AppError `conflict` when one of this kind is prepared already; `unavailable`
   */
  async prepare(kind: AuthorityKind, actor: Actor): Promise<AuthorityStatus> {
    const { store, keyStore, clock, authority, logger } = this.#o;
    const { lifetimes, trustDomain } = authority;
    const record = this.#newRecord(kind);
    const { id } = record;
    try {
      checkNonePrepared(await store.read(), kind);
      if (actor.dryRun === true) return this.statusOf({ ...record, state: 'prepared' });
      await this.record('prepare', id, actor);
      await store.change((set) => {
        checkNonePrepared(set, kind);
        return withRecords(set, [record], clock.now());
      });
    } catch (error) {
      throw await this.#refused('prepare', id, actor, error);
    }
    const now = clock.now();
    try {
      const material = await makeMaterial(record, { trustDomain, keyStore, now, random: this.#random, lifetimes });
      const after = await store.change((set) => prepared(set, id, material, clock.now()));
      logger.info({ kind, id, name: material.name, actor: actor.name }, 'authority prepared');
      await authority.refresh();
      return this.statusOf(find(after, id));
    } catch (error) {
      await this.#giveUp(record);
      throw await this.#refused('prepare', id, actor, error);
    }
  }

  /** As `prepare`, of one whose key is elsewhere. False, and nothing, when it is known or while another one is prepared. */
  async prepareForeign(kind: AuthorityKind, material: AuthorityMaterial, actor: Actor): Promise<boolean> {
    const { store, clock, authority } = this.#o;
    const set = await store.read();
    if (set.records.some(({ name }) => name === material.name) || inState(set, kind, 'prepared') !== undefined)
      return false;
    const record = this.#newRecord(kind, null);
    await this.record('prepare', record.id, actor);
    await store.change((current) => {
      checkNonePrepared(current, kind);
      return prepared(withRecords(current, [record], clock.now()), record.id, material, clock.now());
    });
    await authority.refresh();
    return true;
  }

  /**
   * Decides twice: before it is recorded, so that what is refused is recorded as that, and at the moment of the change.
   *
   * @param o.acknowledged Whether everybody who is there must have acknowledged the bundle that holds it. Default not.
   * @throws AppError `not-found`; `conflict` when it is in another state, or not acknowledged; `unavailable`
   */
  async change(
    action: Exclude<Action, 'prepare'>,
    id: string,
    actor: Actor,
    o: { readonly acknowledged?: boolean } = {},
  ): Promise<AuthorityStatus> {
    const { store, clock, authority, logger } = this.#o;
    const decide = (set: AuthoritySet): AuthoritySet => {
      const after = STEPS[action](set, id, clock.now(), authority.lifetimes);
      if (o.acknowledged === true) this.#followers.checkAcknowledged(find(set, id));
      return after;
    };
    try {
      if (o.acknowledged === true) await this.#followers.hear(await store.read());
      const wanted = decide(await store.read());
      if (actor.dryRun === true) return this.statusOf(find(wanted, id));
      await this.record(action, id, actor);
      const after = await store.change(decide);
      const record = find(after, id);
      logger.info({ action, kind: record.kind, id, name: record.name, actor: actor.name }, 'authority changed');
      await authority.refresh();
      return this.statusOf(record);
    } catch (error) {
      throw await this.#refused(action, id, actor, error);
    }
  }

  /** Deletes the keys of what nobody trusts any more, then the records; and what a crash left behind an hour ago. */
  async clear(): Promise<void> {
    const { store, keyStore, clock } = this.#o;
    const gone = (await store.read()).records.filter((record) => isOver(record, clock.now()));
    for (const { keyName } of gone) if (keyName !== null) await keyStore.delete(keyName);
    if (gone.length === 0) return;
    const ids = gone.map((record) => record.id);
    await store.change((set) => {
      const still = ids.filter((id) => set.records.some((record) => record.id === id && isOver(record, clock.now())));
      return still.length === 0 ? set : withoutRecords(set, still, clock.now());
    });
  }

  /** How an authority looks to people. */
  statusOf({ keyName, jwk: _, ...record }: AuthorityRecord): AuthorityStatus {
    const missing = record.state === 'prepared' ? this.#followers.missing(record.sequence) : [];
    const listener = record.kind === 'x509' && record.name === this.#o.authority.rootFingerprint;
    return Object.freeze({
      ...record,
      state: record.state as AuthorityStatus['state'],
      listener,
      upstream: keyName === null,
      missing,
    });
  }

  /** Rejects with `unavailable` when it cannot be made durable: then nothing may be changed. */
  record(action: Action, id: string, actor: Actor, refusal?: AppError): Promise<void> {
    return this.#o.recorder.record({
      action: ACTIONS[action],
      outcome: refusal === undefined ? 'granted' : 'refused',
      subject: trustDomainId(this.#o.authority.trustDomain).uri,
      actor: actor.name,
      entry: '',
      instance: '',
      serial: id,
      method: '',
      selectors: [],
      audience: [],
      expiresAt: 0,
      reason: refusal === undefined ? '' : `${refusal.code}: ${refusal.message}`,
      source: actor.source,
    });
  }

  /** Records the refusal, as well as that can be done, and gives back what is to be thrown. */
  async #refused(action: Action, id: string, actor: Actor, error: unknown): Promise<unknown> {
    if (actor.dryRun === true) return error;
    try {
      await this.record(action, id, actor, toAppError(error));
    } catch (unrecorded) {
      this.#o.logger.error({ err: unrecorded, action, id }, 'a refusal cannot be recorded');
    }
    return error;
  }

  /** What cannot be cleared away now is, an hour later. */
  async #giveUp({ id, keyName }: AuthorityRecord): Promise<void> {
    const { store, keyStore, clock, logger } = this.#o;
    try {
      // It may be stored although that was reported to have failed: then its key is needed.
      const isShown = (await store.read()).records.some((each) => each.id === id && each.state !== 'new');
      if (isShown || keyName === null) return;
      await keyStore.delete(keyName);
      await store.change((set) => withoutRecords(set, [id], clock.now()));
    } catch (error) {
      logger.warn(
        { err: error, id },
        'what is left of an authority that did not come to be cannot be cleared away yet',
      );
    }
  }

  #newRecord(kind: AuthorityKind, keyName?: null): AuthorityRecord {
    const { clock, authority } = this.#o;
    const options = { now: clock.now(), lifetimes: authority.lifetimes };
    return newRecord(uuidv7(clock, this.#random), kind, keyName === undefined ? options : { ...options, keyName });
  }
}

/** What was begun is finished within seconds, or never. */
const ABANDONED_MS = 3600 * 1000;

function isOver({ state, createdAt }: AuthorityRecord, now: number): boolean {
  return state === 'retired' || state === 'revoked' || (state === 'new' && now - createdAt > ABANDONED_MS);
}
