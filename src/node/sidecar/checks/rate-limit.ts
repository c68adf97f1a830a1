import type { Clock } from '../../../base/clock.ts';
import { principalOf } from '../../../core/policy/principal.ts';
import type { Rate, RateLimit } from '../../../core/policy/rate-limit.ts';
import type { Problem } from '../problem.ts';
import { Rates } from './rates.ts';
import type { Known, Ruling } from './ruling.ts';
import { refused } from './ruling.ts';

/** A call that comes too soon. */
export interface TooMany {
  /** `<namespace>/<name>@<revision>` of the rate limit. */
  readonly rule: string;
  /** At least 1. */
  readonly retryAfterSeconds: number;
}

/** So many callers are counted one by one for each rate limit; those beyond share one bucket, so that none goes uncounted. */
const MAX_SOURCES = 10_000;
/** How many of the callers that were quiet for longest are looked at when there is no room: one that may have all its calls again needs no bucket. */
const LOOK_AT = 8;
/** The bucket that callers without one of their own share. No principal is it, nor '' for nobody. */
const OTHERS = '*';

/** Holds what is left of a rate, in calls. A full one is the same as none. */
interface Bucket {
  rate: Rate;
  tokens: number;
  /** Milliseconds since the epoch: when `tokens` was counted. */
  at: number;
}

/** What is counted for one rate limit. */
interface Counted {
  total: Bucket | undefined;
  /** Of each caller, by principal; those that were quiet for longest first. */
  readonly sources: Map<string, Bucket>;
}

/**
 * Counts the calls that are let in, in token buckets: each holds a whole period's worth, and fills up evenly. Counts are of
 * this sidecar alone and start anew with it; a rate limit that is changed keeps what it has counted.
 */
export class RateLimiter {
  readonly #clock: Clock;
  readonly #counted = new Map<string, Counted>();
  readonly #rates = new Rates();
  #limits: readonly RateLimit[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Counts one call of `source`; undefined when it may come in. One that may not is counted nowhere, whichever of several
   * rate limits stands against it.
   *
   * @param source SPIFFE ID; '' for a caller without a certificate
   */
  take(limits: readonly RateLimit[] | undefined, source: string): TooMany | undefined {
    if (limits === undefined || limits.length === 0) return undefined;
    if (limits !== this.#limits) this.#forgetOthers(limits);
    const now = this.#clock.now();
    const principal = principalOf(source);
    const buckets: Bucket[] = [];
    let longest: { readonly limit: RateLimit; readonly waitMs: number } | undefined;
    for (const limit of limits) {
      for (const bucket of this.#bucketsOf(limit, principal, now)) {
        buckets.push(bucket);
        const { rate, tokens } = bucket;
        const waitMs = tokens >= 1 ? 0 : ((1 - tokens) * rate.periodMs) / rate.requests;
        if (waitMs > (longest?.waitMs ?? 0)) longest = { limit, waitMs };
      }
    }
    if (longest !== undefined) {
      const { namespace, name, revision } = longest.limit;
      return {
        rule: `${namespace}/${name}@${revision}`,
        retryAfterSeconds: Math.max(1, Math.ceil(longest.waitMs / 1000)),
      };
    }
    for (const bucket of buckets) bucket.tokens -= 1;
    return undefined;
  }

  /** Those that a call takes from, filled up to now. */
  #bucketsOf(limit: RateLimit, principal: string, now: number): readonly Bucket[] {
    const key = `${limit.namespace}/${limit.name}`;
    let counted = this.#counted.get(key);
    if (counted === undefined) {
      counted = { total: undefined, sources: new Map() };
      this.#counted.set(key, counted);
    }
    const buckets: Bucket[] = [];
    if (limit.total !== undefined) {
      counted.total = filled(counted.total, limit.total, now);
      buckets.push(counted.total);
    }
    const rate = this.#rates.of(limit, principal);
    if (rate !== undefined) buckets.push(bucketOf(counted.sources, principal, rate, now));
    return buckets;
  }

  #forgetOthers(limits: readonly RateLimit[]): void {
    this.#limits = limits;
    const keys = new Set(limits.map(({ namespace, name }) => `${namespace}/${name}`));
    for (const key of this.#counted.keys()) if (!keys.has(key)) this.#counted.delete(key);
  }
}

function bucketOf(sources: Map<string, Bucket>, principal: string, rate: Rate, now: number): Bucket {
  const known = sources.get(principal);
  const key = known !== undefined || sources.size < MAX_SOURCES || makeRoom(sources, now) ? principal : OTHERS;
  const bucket = filled(key === principal ? known : sources.get(OTHERS), rate, now);
  sources.delete(key);
  sources.set(key, bucket);
  return bucket;
}

function makeRoom(sources: Map<string, Bucket>, now: number): boolean {
  let looked = 0;
  for (const [principal, bucket] of sources) {
    if (filled(bucket, bucket.rate, now).tokens >= bucket.rate.requests) return sources.delete(principal);
    looked += 1;
    if (looked === LOOK_AT) break;
  }
  return false;
}

/** With a rate that was changed meanwhile, what is left counts as far as the new one goes. */
function filled(bucket: Bucket | undefined, rate: Rate, now: number): Bucket {
  if (bucket === undefined) return { rate, tokens: rate.requests, at: now };
  // A clock that was set back must not take calls away.
  const elapsedMs = Math.max(0, now - bucket.at);
  bucket.tokens = Math.min(rate.requests, bucket.tokens + (elapsedMs * rate.requests) / rate.periodMs);
  bucket.rate = rate;
  bucket.at = now;
  return bucket;
}

/** How such a call is refused. */
export function limited({ rule, retryAfterSeconds }: TooMany, known: Known): Ruling {
  const problem: Problem = {
    status: 429,
    code: 'exhausted',
    reason: 'rate-limited',
    rule,
    detail: `More calls than ${rule} lets in. Try again in ${retryAfterSeconds} s.`,
    headers: { 'retry-after': String(retryAfterSeconds) },
  };
  return refused('rate-limited', known, { rule, problem });
}
