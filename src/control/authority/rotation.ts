import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError, toAppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { RandomBytes } from '../../base/random.ts';
import { secureRandom, uuidv7 } from '../../base/random.ts';
import { trustDomainId } from '../../core/identity/spiffe-id.ts';
import type { Recorder } from '../ledger/recorder.ts';
import type { AuthorityKind, AuthorityRecord, AuthoritySet } from './authorities.ts';
import {
  activated,
  authorityKinds,
  checkNonePrepared,
  find,
  inState,
  isTrusted,
  prepared,
  retired,
  revoked,
  tainted,
  wantedSoon,
  withoutRecords,
  withRecords,
} from './authorities.ts';
import type { Authority } from './authority.ts';
import type { AuthorityStore } from './authority-store.ts';
import type { KeyStore } from './key-store.ts';
import { belowMs } from './lifetimes.ts';
import { certificateMaterial, makeMaterial, newRecord } from './make-authority.ts';
import type { Due } from './schedule.ts';
import { nextLook, whatIsDue } from './schedule.ts';
import type { UpstreamAuthority } from './upstream.ts';

/** Those who verify: connected sidecars, connected agents. */
export interface Followers {
  /** Names, for people, of those that do not have a bundle of this sequence, or a later one, in force. */
  missing(bundleSequence: number): readonly string[];
  /** Makes `missing` answer by what other replicas know now. Default: it does so by itself. */
  refresh?(): Promise<void>;
}

/** Who wants a change. */
export interface Actor {
  /** Name of the admin, or `control-plane`. */
  readonly name: string;
  /** Network address; empty for the control plane. */
  readonly source: string;
  /** Check everything, change and record nothing, answer with what would be. Default not. */
  readonly dryRun?: boolean | undefined;
}

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

type Action = keyof typeof ACTIONS;

const self: Actor = { name: 'control-plane', source: '' };
/** Of those that are missing, how many a message names. */
const MAX_NAMED = 20;
/** A change that was refused or failed is not tried again by itself before that. */
const RETRY_MS = 10_000;
/** How often the upstream authority is asked for its root. */
const UPSTREAM_MS = 60_000;

/**
 * Moves authorities from state to state: on schedule, and when an admin says so. The one who writes them; everybody else
 * follows the store. Every replica runs the schedule: what two of them decide at once happens once (see `AuthorityStore`).
 *
 * Each change is recorded in the ledger before it is made; without a record there is no change.
 */
export class Rotation {
  readonly #o: RotationOptions;
  readonly #random: RandomBytes;
  #wake: () => void = () => undefined;
  /** What was last said of what keeps a new authority waiting. */
  #said: ReadonlySet<string> = new Set();

  constructor(options: RotationOptions) {
    this.#o = options;
    this.#random = options.random ?? secureRandom;
  }

  /** Those that are in the bundle, oldest first. */
  async list(): Promise<{ readonly sequence: number; readonly items: readonly AuthorityStatus[] }> {
    const set = await this.#o.store.read();
    await this.#hear(set);
    return { sequence: set.sequence, items: set.records.filter(isTrusted).map((record) => this.#statusOf(record)) };
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
    return await this.#prepare(kind, actor);
  }

  /**
   * From now on it signs, and what did is old.
   *
   * @throws AppError `not-found`; `conflict` unless it is prepared and everybody who is connected has acknowledged the bundle
   *   that holds it, naming who has not; `unavailable` when the change cannot be recorded
   */
  async activate(id: string, actor: Actor): Promise<AuthorityStatus> {
    await this.#hear(await this.#o.store.read());
    return await this.#change('activate', id, actor, (set, now) => {
      const after = this.#activated(set, id, now);
      this.#checkAcknowledged(find(set, id));
      return after;
    });
  }

  /**
   * Prepares an authority, unless one is, and makes it active as soon as everybody can verify what it signs. Returns at once.
   *
   * @throws AppError as `prepare`
   */
  async rotate(kind: AuthorityKind, actor: Actor): Promise<AuthorityStatus> {
    const before = inState(await this.#o.store.read(), kind, 'prepared');
    if (actor.dryRun === true) return before === undefined ? await this.prepare(kind, actor) : this.#statusOf(before);
    const { id } = before ?? (await this.prepare(kind, actor));
    const after = await this.#o.store.change((set) =>
      // Somebody may have been quicker: what is active has been rotated.
      find(set, id).state === 'prepared' ? wantedSoon(set, id, this.#o.clock.now()) : set,
    );
    this.#wake();
    return this.#statusOf(find(after, id));
  }

  /**
   * It may be in wrong hands: everybody replaces what it has signed, at once, and goes on trusting it until then.
   *
   * @throws AppError `not-found`; `conflict` unless it is old; `unavailable` when the change cannot be recorded
   */
  async taint(id: string, actor: Actor): Promise<AuthorityStatus> {
    return await this.#change('taint', id, actor, (set, now) => tainted(set, id, now));
  }

  /**
   * Nobody trusts it from now on; its key is deleted.
   *
   * @throws AppError `not-found`; `conflict` unless it is tainted; `unavailable` when the change cannot be recorded
   */
  async revoke(id: string, actor: Actor): Promise<AuthorityStatus> {
    const status = await this.#change('revoke', id, actor, (set, now) => revoked(set, id, now));
    if (actor.dryRun !== true) await this.#clear();
    return status;
  }

  /** Keeps the schedule, until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, store, logger } = this.#o;
    let woken = new AbortController();
    this.#wake = () => woken.abort();
    const unsubscribe = store.changes.subscribe(() => this.#wake());
    await this.#recordEstablished();
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
    const { clock, store, authority } = this.#o;
    await this.#followUpstream();
    const set = await store.read();
    await this.#hear(set);
    for (const due of whatIsDue(set, { now: clock.now(), missing: this.#missing, lifetimes: authority.lifetimes })) {
      await this.#carryOut(due);
    }
    await this.#clear();
    const untilDue = nextLook(await store.read(), clock.now());
    return this.#o.upstream === undefined ? untilDue : Math.min(untilDue, UPSTREAM_MS);
  }

  /** Those that this replica made at its start, before anything could be recorded. Nobody has been given anything yet. */
  async #recordEstablished(): Promise<void> {
    try {
      for (const id of this.#o.authority.established) await this.#record('activate', id, self);
    } catch (error) {
      this.#o.logger.error({ err: error }, 'the first authorities cannot be recorded');
    }
  }

  async #carryOut(due: Due): Promise<void> {
    const { logger } = this.#o;
    try {
      switch (due.action) {
        case 'prepare':
          if (due.kind !== 'x509' || this.#o.upstream === undefined) await this.#prepare(due.kind, self);
          else this.#sayOnce('upstream', {}, 'the root of the upstream authority ends soon: give that one another');
          return;
        case 'wait':
          this.#sayOnce(
            `${due.id} ${due.missing.join()}`,
            { kind: due.kind, id: due.id, count: due.missing.length, missing: due.missing.slice(0, MAX_NAMED) },
            'a new authority waits until these have acknowledged the bundle that holds it',
          );
          return;
        case 'activate':
          if (due.missing.length > 0) {
            logger.error(
              { kind: due.kind, id: due.id, missing: due.missing.slice(0, MAX_NAMED) },
              'the active authority ends; the next one takes over although these cannot verify it yet',
            );
          }
          await this.#change('activate', due.id, self, (current, now) => this.#activated(current, due.id, now));
          return;
        case 'retire':
          await this.#change('retire', due.id, self, (current, now) => retired(current, due.id, now));
          return;
        case 'revoke':
          await this.#change('revoke', due.id, self, (current, now) => revoked(current, due.id, now));
          return;
      }
    } catch (error) {
      // Another replica was quicker.
      if (error instanceof AppError && (error.code === 'conflict' || error.code === 'not-found')) return;
      throw error;
    }
  }

  /** That it is away must not keep token keys from being rotated. */
  async #followUpstream(): Promise<void> {
    try {
      await this.#prepareUpstream();
    } catch (error) {
      this.#o.logger.error({ err: error }, 'cannot ask the upstream authority for its root');
    }
  }

  /** Another root of the upstream authority is published before anything hangs from it. */
  async #prepareUpstream(): Promise<void> {
    const { upstream, store, clock } = this.#o;
    if (upstream === undefined) return;
    const material = certificateMaterial(await upstream.root());
    const set = await store.read();
    if (set.records.some(({ name }) => name === material.name) || inState(set, 'x509', 'prepared') !== undefined)
      return;
    const record = this.#newRecord('x509', null);
    await this.#record('prepare', record.id, self);
    await store.change((current) => {
      checkNonePrepared(current, 'x509');
      return prepared(withRecords(current, [record], clock.now()), record.id, material, clock.now());
    });
    this.#o.logger.info({ rootFingerprint: material.name }, 'the upstream authority has another root');
    await this.#o.authority.refresh();
  }

  /** In the order that `establish.ts` explains: a trace, the key, and then it shows. */
  async #prepare(kind: AuthorityKind, actor: Actor): Promise<AuthorityStatus> {
    const { store, keyStore, clock, authority, logger } = this.#o;
    const { lifetimes, trustDomain } = authority;
    const record = this.#newRecord(kind);
    const { id } = record;
    try {
      checkNonePrepared(await store.read(), kind);
      if (actor.dryRun === true) return this.#statusOf({ ...record, state: 'prepared' });
      await this.#record('prepare', id, actor);
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
      return this.#statusOf(find(after, id));
    } catch (error) {
      await this.#giveUp(record);
      throw await this.#refused('prepare', id, actor, error);
    }
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

  /** Decides twice: before it is recorded, so that what is refused is recorded as that, and at the moment of the change. */
  async #change(
    action: Exclude<Action, 'prepare'>,
    id: string,
    actor: Actor,
    decide: (set: AuthoritySet, now: number) => AuthoritySet,
  ): Promise<AuthorityStatus> {
    const { store, clock, authority, logger } = this.#o;
    try {
      const wanted = decide(await store.read(), clock.now());
      if (actor.dryRun === true) return this.#statusOf(find(wanted, id));
      await this.#record(action, id, actor);
      const after = await store.change((set) => decide(set, clock.now()));
      const record = find(after, id);
      logger.info({ action, kind: record.kind, id, name: record.name, actor: actor.name }, 'authority changed');
      await authority.refresh();
      return this.#statusOf(record);
    } catch (error) {
      throw await this.#refused(action, id, actor, error);
    }
  }

  #record(action: Action, id: string, actor: Actor, refusal?: AppError): Promise<void> {
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
      await this.#record(action, id, actor, toAppError(error));
    } catch (unrecorded) {
      this.#o.logger.error({ err: unrecorded, action, id }, 'a refusal cannot be recorded');
    }
    return error;
  }

  /** Deletes the keys of what nobody trusts any more, then the records; and what a crash left behind an hour ago. */
  async #clear(): Promise<void> {
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

  #activated(set: AuthoritySet, id: string, now: number): AuthoritySet {
    return activated(set, id, now, belowMs(find(set, id).kind, this.#o.authority.lifetimes));
  }

  #checkAcknowledged(record: AuthorityRecord): void {
    const missing = this.#missing(record.sequence);
    if (missing.length === 0) return;
    const more = missing.length > MAX_NAMED ? ` and ${missing.length - MAX_NAMED} more` : '';
    throw new AppError(
      'conflict',
      `${missing.length} connected ${missing.length === 1 ? 'follower has' : 'followers have'} not acknowledged the bundle ` +
        `with the ${record.kind} authority ${record.id} and could not verify what it signs: ` +
        `${missing.slice(0, MAX_NAMED).join(', ')}${more}. Wait for them, or ban them.`,
    );
  }

  #sayOnce(what: string, fields: object, message: string): void {
    if (this.#said.has(what)) return;
    // What was said before comes up again after others have: that is news.
    this.#said = new Set([...this.#said, what].slice(-authorityKinds.length));
    this.#o.logger.warn(fields, message);
  }

  /** While something is prepared it matters who is there, whichever replica knows. */
  async #hear(set: AuthoritySet): Promise<void> {
    if (!set.records.some((record) => record.state === 'prepared')) return;
    await Promise.all(this.#o.followers.map((followers) => followers.refresh?.()));
  }

  readonly #missing = (sequence: number): readonly string[] =>
    this.#o.followers.flatMap((followers) => followers.missing(sequence));

  #newRecord(kind: AuthorityKind, keyName?: null): AuthorityRecord {
    const { clock, authority } = this.#o;
    const options = { now: clock.now(), lifetimes: authority.lifetimes };
    return newRecord(uuidv7(clock, this.#random), kind, keyName === undefined ? options : { ...options, keyName });
  }

  #statusOf({ keyName, jwk: _, ...record }: AuthorityRecord): AuthorityStatus {
    const missing = record.state === 'prepared' ? this.#missing(record.sequence) : [];
    const listener = record.kind === 'x509' && record.name === this.#o.authority.rootFingerprint;
    return Object.freeze({
      ...record,
      state: record.state as AuthorityStatus['state'],
      listener,
      upstream: keyName === null,
      missing,
    });
  }
}

/** What was begun is finished within seconds, or never. */
const ABANDONED_MS = 3600 * 1000;

function isOver({ state, createdAt }: AuthorityRecord, now: number): boolean {
  return state === 'retired' || state === 'revoked' || (state === 'new' && now - createdAt > ABANDONED_MS);
}
