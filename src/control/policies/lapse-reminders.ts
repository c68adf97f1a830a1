import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Watch } from '../../base/watch.ts';
import type { Policy } from '../../core/policy/model.ts';
import { nextReminder, reminderAt } from '../../core/policy/reminders.ts';
import type { PolicySet } from './current.ts';

export interface LapseRemindersOptions {
  readonly policies: Watch<Pick<PolicySet, 'policies'>>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Says in the log that a grant ends: a week, a day and an hour before, and when it has ended, once each and again after a restart.
 * Also what puts a policy closer to its end than it was is said at once. Every replica says it.
 *
 * It reminds people only: sidecars know the end themselves, and let nobody in after it whether or not anybody was reminded.
 */
export class LapseReminders {
  readonly #o: LapseRemindersOptions;
  readonly #unsubscribe: () => void;
  /** By policy: the end and the reminder that was said of it. */
  #said: ReadonlyMap<string, string> = new Map();
  #cancel: () => void = () => undefined;

  constructor(options: LapseRemindersOptions) {
    this.#o = options;
    this.#unsubscribe = options.policies.subscribe(() => this.#look());
    this.#look();
  }

  close(): void {
    this.#unsubscribe();
    this.#cancel();
  }

  #look(): void {
    const { policies, clock } = this.#o;
    this.#cancel();
    const now = clock.now();
    const said = new Map<string, string>();
    let next = Number.POSITIVE_INFINITY;
    for (const policy of policies.current.policies) {
      const end = policy.validity?.notAfter;
      if (end === undefined) continue;
      next = Math.min(next, nextReminder(end, now) ?? next);
      const reminder = reminderAt(end, now);
      if (reminder === undefined) continue;
      const key = `${policy.namespace}/${policy.name}`;
      const what = `${end} ${reminder}`;
      said.set(key, what);
      if (this.#said.get(key) !== what) this.#say(policy, end, reminder);
    }
    this.#said = said;
    if (next !== Number.POSITIVE_INFINITY) this.#cancel = clock.after(next - now, () => this.#look());
  }

  #say({ namespace, name, reason }: Policy, end: number, reminder: number): void {
    const fields = { policy: `${namespace}/${name}`, notAfter: new Date(end).toISOString(), why: reason };
    if (reminder > 0) this.#o.logger.warn(fields, 'a policy ends soon: what only it allows is denied from then on');
    else this.#o.logger.warn(fields, 'a policy has ended: delete it, or give it a new end');
  }
}
