import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { AdminGroupsLimits } from './admin-groups.ts';
import { AdminGroups } from './admin-groups.ts';
import type { AdminFacts, AdminRecorder } from './admin-recorder.ts';

export interface AdminTrailOptions {
  readonly recorder: AdminRecorder;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<AdminGroupsLimits>;
}

/** How long a group of reads, or of refused tokens, is counted. */
export const GROUP_MS = 60_000;
/** Somebody who was silent for so long signs in again. */
export const SIGN_IN_MS = 60 * 60_000;
/** A disk that neither writes nor fails must not hold a write for ever. */
const WRITE_PATIENCE_MS = 10_000;

/**
 * The record of administration. What changes something is on it before it is done, and how it ended before that is answered;
 * whatever cannot be recorded is not done. What only reads is answered all the same, so that whoever has to mend the ledger
 * is not blind; it is recorded in groups, and as soon as that is possible.
 */
export class AdminTrail {
  readonly #options: AdminTrailOptions;
  readonly #groups: AdminGroups;

  constructor(options: AdminTrailOptions) {
    this.#options = options;
    this.#groups = new AdminGroups(options);
  }

  /** Something is about to be changed. Rejects with `audit-unavailable`: then it must not be. */
  async begin(facts: Omit<AdminFacts, 'outcome'>): Promise<void> {
    await this.#inTime({ ...facts, outcome: 'begun' });
  }

  /**
   * How it ended. Rejects with `audit-unavailable` when that is not on the record: then it must not be answered as if it were.
   * It is recorded as soon as that is possible again.
   */
  async end(facts: AdminFacts): Promise<void> {
    const timed = { time: this.#options.clock.now(), ...facts };
    await this.#inTime(timed, () => this.#groups.keep(timed));
  }

  /** What changed nothing. Those with the same facts in a minute are a group. Never rejects. */
  async read(facts: AdminFacts, first: Partial<AdminFacts> = {}): Promise<void> {
    await this.#groups.note(facts, GROUP_MS, first);
  }

  /** A token was taken. Recorded once an hour for each token and address; what it was used for is recorded besides. Never rejects. */
  async signIn(who: Pick<AdminFacts, 'actor' | 'role' | 'credential' | 'source'>): Promise<void> {
    await this.#groups.note({ ...who, action: 'sign-in', outcome: 'done' }, SIGN_IN_MS, {}, { rest: 'forget' });
  }

  /** Somebody did not prove to be anybody. Of too many different ones only the number is recorded. Never rejects. */
  async refuse(facts: Omit<AdminFacts, 'action' | 'outcome'>, first: Partial<AdminFacts> = {}): Promise<void> {
    const group = { ...facts, action: 'sign-in', outcome: 'refused' } as const;
    await this.#groups.note(group, GROUP_MS, first, { whenFull: 'count' });
  }

  /** What the control plane does or finds by itself. Rejects with `audit-unavailable`: then it must not be done. */
  async record(facts: AdminFacts): Promise<void> {
    await this.#inTime({ actor: 'control-plane', ...facts });
  }

  /** A state of things that nobody can refuse: recorded now, or as soon as that is possible. Never rejects. */
  async report(facts: AdminFacts): Promise<void> {
    await this.#groups.keep({ time: this.#options.clock.now(), actor: 'control-plane', ...facts });
  }

  /** Records what was counted. Idempotent. */
  close(): Promise<void> {
    return this.#groups.close();
  }

  async #inTime(facts: AdminFacts, onFailure: () => unknown = () => undefined): Promise<void> {
    const { recorder, clock } = this.#options;
    const done = new AbortController();
    const recorded = recorder.record(facts).then(() => true);
    // Also when it fails after we have given up.
    recorded.catch(onFailure);
    try {
      if (await Promise.race([recorded, sleep(clock, WRITE_PATIENCE_MS, done.signal).then(() => false)])) return;
    } finally {
      done.abort();
    }
    throw new AppError(
      'audit-unavailable',
      'The audit ledger of the control plane does not answer, and nothing is changed that is not on the record. Look at its disk; then try again.',
      { retryAfterSeconds: 5 },
    );
  }
}
