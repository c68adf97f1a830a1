import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/log.ts';
import type { Watch } from '../../../base/watch.ts';
import { quarantinedOf, quarantineRule } from '../checks/quarantine.ts';
import type { PolicyState } from '../policy-state.ts';
import type { QuarantineList } from '../quarantine/list.ts';
import type { Cut } from './live-call.ts';
import { LiveCall } from './live-call.ts';

export interface LiveCallsOptions<Facts> {
  readonly policy: Watch<PolicyState | undefined>;
  readonly quarantine: Watch<QuarantineList>;
  /** Why a call would not be let in now; undefined when it would. */
  readonly recheck: (facts: Facts, state: PolicyState | undefined, now: number) => Omit<Cut, 'revision'> | undefined;
  /**
   * How old a call must be for a change of policy to cut it, in milliseconds. One that is over within that time was decided by
   * the policy of its beginning, and to break off its answer would protect nobody.
   */
  readonly graceMs: (facts: Facts) => number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * All calls that were let in and are not over. They are decided again when the policies change, at every moment at which a
 * validity begins or ends, and when somebody comes into quarantine; those that would not be let in now are cut off. Nothing is
 * waited for: what is recorded of it is recorded when the call is over, which it is at once.
 */
export class LiveCalls<Facts> {
  readonly #o: LiveCallsOptions<Facts>;
  readonly #live = new Set<LiveCall<Facts>>();
  readonly #unsubscribe: readonly (() => void)[];
  #decidedBy: PolicyState | undefined;
  #cancelTimer: () => void = () => undefined;

  constructor(o: LiveCallsOptions<Facts>) {
    this.#o = o;
    this.#decidedBy = o.policy.current;
    this.#unsubscribe = [
      o.quarantine.subscribe((list) => this.#cutQuarantined(list)),
      o.policy.subscribe((state) => {
        const before = this.#decidedBy;
        this.#decidedBy = state;
        if (!isSame(before, state)) this.#decideAgain();
      }),
    ];
    this.#wakeAt(Number.POSITIVE_INFINITY);
  }

  get size(): number {
    return this.#live.size;
  }

  /**
   * A call that is let in. What has changed since it was decided (its record took a moment, or somebody was asked) counts, also
   * that a validity has begun or ended: the call may come back cut off, and must then not be forwarded.
   *
   * @param call Decided as of its `startedAt`.
   * @param decidedBy The policy that it was decided by.
   */
  begin(
    call: { readonly facts: Facts; readonly parties: readonly string[]; readonly startedAt: number },
    decidedBy: PolicyState | undefined,
  ): LiveCall<Facts> {
    const { policy, quarantine } = this.#o;
    const live = new LiveCall(call);
    this.#cutIfQuarantined(live, quarantine.current);
    if (live.wasCut === undefined && (!isSame(policy.current, decidedBy) || this.#hasBoundarySince(live.startedAt))) {
      const why = this.#refusalOf(live);
      if (why !== undefined) live.cut(why);
    }
    if (live.wasCut === undefined) this.#live.add(live);
    return live;
  }

  /** It is over. Idempotent. */
  end(live: LiveCall<Facts>): void {
    this.#live.delete(live);
  }

  close(): void {
    for (const stop of this.#unsubscribe) stop();
    this.#cancelTimer();
    this.#live.clear();
  }

  #cutQuarantined(list: QuarantineList): void {
    if (list.ids.size === 0) return;
    for (const live of [...this.#live]) this.#cutIfQuarantined(live, list);
  }

  #cutIfQuarantined(live: LiveCall<Facts>, list: QuarantineList): void {
    const party = quarantinedOf(list, live.parties);
    if (party === undefined) return;
    live.cut({ reason: 'quarantined', rule: quarantineRule(list), revision: list.revision });
  }

  #decideAgain(): void {
    const { clock, graceMs, logger } = this.#o;
    const now = clock.now();
    let again = Number.POSITIVE_INFINITY;
    let cut = 0;
    for (const live of [...this.#live]) {
      const why = this.#refusalOf(live);
      if (why === undefined) continue;
      const due = live.startedAt + graceMs(live.facts);
      // One that begins later than now began before the clock was set back, and may be of any age.
      if (due <= now || live.startedAt > now) {
        live.cut(why);
        cut += 1;
      } else {
        again = Math.min(again, due);
      }
    }
    if (cut > 0) logger.info({ calls: cut }, 'open calls were cut off: the policy does not allow them any more');
    this.#wakeAt(again);
  }

  /** Whether a validity has begun or ended after `moment`: the timer for it may have looked before the call was among the live ones. */
  #hasBoundarySince(moment: number): boolean {
    const { policy, clock } = this.#o;
    const now = clock.now();
    return policy.current?.boundaries?.some((each) => each > moment && each <= now) === true;
  }

  #refusalOf(live: LiveCall<Facts>): Cut | undefined {
    const { policy, recheck, clock } = this.#o;
    const state = policy.current;
    const refusal = recheck(live.facts, state, clock.now());
    return refusal === undefined ? undefined : { ...refusal, revision: state?.revision ?? 0 };
  }

  /** At the latest; a validity that begins or ends before is earlier. A timer that rings too early only looks once more. */
  #wakeAt(moment: number): void {
    const { policy, clock } = this.#o;
    this.#cancelTimer();
    const now = clock.now();
    const boundary = policy.current?.boundaries?.find((each) => each > now) ?? Number.POSITIVE_INFINITY;
    const next = Math.min(moment, boundary);
    if (next === Number.POSITIVE_INFINITY) this.#cancelTimer = () => undefined;
    else this.#cancelTimer = clock.after(next - now, () => this.#decideAgain());
  }
}

/** Whether the content is the same: revisions go by that do not concern this workload. */
function isSame(a: PolicyState | undefined, b: PolicyState | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.hash.equals(b.hash);
}
