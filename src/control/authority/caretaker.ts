import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { AuthoritySet } from './authorities.ts';
import { authorityKinds } from './authorities.ts';
import type { Authority } from './authority.ts';
import type { AuthorityStore } from './authority-store.ts';
import type { AllFollowers } from './followers.ts';
import { MAX_NAMED } from './followers.ts';
import type { UpstreamAuthority } from './keys/upstream.ts';
import { certificateMaterial } from './make-authority.ts';
import type { Due } from './schedule.ts';
import { nextLook, whatIsDue } from './schedule.ts';
import type { Actor, Transitions } from './transitions.ts';

export interface CaretakerOptions {
  readonly transitions: Transitions;
  readonly authority: Pick<Authority, 'lifetimes' | 'established'>;
  readonly store: AuthorityStore;
  readonly upstream?: UpstreamAuthority | undefined;
  readonly followers: AllFollowers;
  readonly clock: Clock;
  readonly logger: Logger;
}

const self: Actor = { name: 'control-plane', source: '' };
/** How often the upstream authority is asked for its root. */
const UPSTREAM_MS = 60_000;

/**
 * Does what the schedule says, and follows the upstream authority's root. Every replica has one: what two of them decide at
 * once happens once.
 */
export class Caretaker {
  readonly #o: CaretakerOptions;
  /** What was last said of what keeps a new authority waiting. */
  #said: ReadonlySet<string> = new Set();

  constructor(options: CaretakerOptions) {
    this.#o = options;
  }

  /** Does what is due now. Returns after how many milliseconds to look again, if nothing changes before. */
  async tick(): Promise<number> {
    const { clock, store, authority, followers, transitions } = this.#o;
    await this.#followUpstream();
    const set = await store.read();
    await this.#hear(set);
    const { missing } = followers;
    const dues = whatIsDue(set, { now: clock.now(), missing, lifetimes: authority.lifetimes });
    for (const due of dues) await this.#carryOut(due);
    await transitions.clear();
    const untilDue = nextLook(await store.read(), clock.now());
    return this.#o.upstream === undefined ? untilDue : Math.min(untilDue, UPSTREAM_MS);
  }

  /** Those that this replica made at its start, before anything could be recorded. Nobody has been given anything yet. */
  async recordEstablished(): Promise<void> {
    try {
      for (const id of this.#o.authority.established) await this.#o.transitions.record('activate', id, self);
    } catch (error) {
      this.#o.logger.error({ err: error }, 'the first authorities cannot be recorded');
    }
  }

  async #carryOut(due: Due): Promise<void> {
    const { transitions, logger } = this.#o;
    try {
      switch (due.action) {
        case 'prepare':
          if (due.kind !== 'x509' || this.#o.upstream === undefined) await transitions.prepare(due.kind, self);
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
          await transitions.change('activate', due.id, self);
          return;
        case 'retire':
        case 'revoke':
          await transitions.change(due.action, due.id, self);
          return;
      }
    } catch (error) {
      // Another replica was quicker.
      if (error instanceof AppError && (error.code === 'conflict' || error.code === 'not-found')) return;
      throw error;
    }
  }

  /** What is known without asking may be old and then names too many, never too few: nobody leaves while nothing is heard. */
  async #hear(set: AuthoritySet): Promise<void> {
    try {
      await this.#o.followers.hear(set);
    } catch (error) {
      this.#o.logger.warn({ err: error }, 'cannot hear who is connected to other replicas');
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
    const { upstream, transitions, logger } = this.#o;
    if (upstream === undefined) return;
    const material = certificateMaterial(await upstream.root());
    if (await transitions.prepareForeign('x509', material, self)) {
      logger.info({ rootFingerprint: material.name }, 'the upstream authority has another root');
    }
  }

  #sayOnce(what: string, fields: object, message: string): void {
    if (this.#said.has(what)) return;
    // What was said before comes up again after others have: that is news.
    this.#said = new Set([...this.#said, what].slice(-authorityKinds.length));
    this.#o.logger.warn(fields, message);
  }
}
