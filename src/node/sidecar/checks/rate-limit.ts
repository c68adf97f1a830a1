import type { Clock } from '../../../base/clock.ts';
import type { RateLimit } from '../../../core/policy/rate-limit.ts';

/** A call that comes too soon. */
export interface TooMany {
  /** `<namespace>/<name>@<revision>` of the rate limit. */
  readonly rule: string;
  readonly retryAfterSeconds: number;
}

/** Counts the calls that are let in. */
export class RateLimiter {
  readonly clock: Clock;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Counts one call of `source`; undefined when it may come in. */
  take(_limits: readonly RateLimit[] | undefined, _source: string): TooMany | undefined {
    return undefined;
  }
}
