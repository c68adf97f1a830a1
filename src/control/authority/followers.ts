import { AppError } from '../../base/errors.ts';
import type { AuthorityRecord, AuthoritySet } from './authorities.ts';

/** Of those that are missing, how many a message names. */
export const MAX_NAMED = 20;

/** Those who verify: connected sidecars, connected agents. */
export interface Followers {
  /** Names, for people, of those that do not have a bundle of this sequence, or a later one, in force. */
  missing(bundleSequence: number): readonly string[];
  /** Makes `missing` answer by what other replicas know now. Default: it does so by itself. */
  refresh?(): Promise<void>;
}

/** All of them together. */
export class AllFollowers {
  readonly #followers: readonly Followers[];

  constructor(followers: readonly Followers[]) {
    this.#followers = followers;
  }

  /** As `Followers.missing`. */
  readonly missing = (sequence: number): readonly string[] =>
    this.#followers.flatMap((followers) => followers.missing(sequence));

  /** While something is prepared it matters who is there, whichever replica knows. */
  async hear(set: AuthoritySet): Promise<void> {
    if (!set.records.some((record) => record.state === 'prepared')) return;
    await Promise.all(this.#followers.map((followers) => followers.refresh?.()));
  }

  /** @throws AppError `conflict` when somebody has not acknowledged the bundle that holds this authority, naming who */
  checkAcknowledged(record: AuthorityRecord): void {
    const missing = this.missing(record.sequence);
    if (missing.length === 0) return;
    const more = missing.length > MAX_NAMED ? ` and ${missing.length - MAX_NAMED} more` : '';
    throw new AppError(
      'conflict',
      `${missing.length} connected ${missing.length === 1 ? 'follower has' : 'followers have'} not acknowledged the bundle ` +
        `with the ${record.kind} authority ${record.id} and could not verify what it signs: ` +
        `${missing.slice(0, MAX_NAMED).join(', ')}${more}. Wait for them, or ban them.`,
    );
  }
}
