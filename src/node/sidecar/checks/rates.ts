import { matches } from '../../../core/policy/match.ts';
import type { StringMatch } from '../../../core/policy/model.ts';
import { accountOf } from '../../../core/policy/principal.ts';
import type { Rate, RateLimit } from '../../../core/policy/rate-limit.ts';

interface Ordered {
  /** Of the override: the first that matches holds. */
  readonly order: number;
  readonly rate: Rate;
}

interface Overrides {
  readonly exact: ReadonlyMap<string, Ordered>;
  readonly patterns: readonly (Ordered & { readonly match: StringMatch })[];
}

/** Which rate holds for a caller. Overrides are made ready once for each rate limit: there may be many, and each call asks. */
export class Rates {
  readonly #ready = new WeakMap<RateLimit, Overrides>();

  /** What holds for a caller by itself; undefined where only the total does. */
  of(limit: RateLimit, principal: string): Rate | undefined {
    const { exact, patterns } = this.#overridesOf(limit);
    const named = exact.get(principal);
    const pattern = patterns.find(({ order, match }) => order < (named?.order ?? Infinity) && isFor(match, principal));
    return (pattern ?? named)?.rate ?? limit.perSource;
  }

  #overridesOf(limit: RateLimit): Overrides {
    let ready = this.#ready.get(limit);
    if (ready === undefined) {
      ready = makeReady(limit);
      this.#ready.set(limit, ready);
    }
    return ready;
  }
}

/** As policies name a service account: whoever shapes a path of their own below their prefix is not one. */
const account = /^\/ns\/[^/]+\/sa\/[^/]+$/;

function isFor(match: StringMatch, principal: string): boolean {
  if (!matches(match, principal)) return false;
  return match.kind !== 'suffix' || !account.test(match.value) || accountOf(principal) !== '';
}

function makeReady(limit: RateLimit): Overrides {
  const exact = new Map<string, Ordered>();
  const patterns: (Ordered & { readonly match: StringMatch })[] = [];
  for (const [order, { principals, rate }] of limit.overrides.entries()) {
    for (const match of principals) {
      if (match.kind !== 'exact') patterns.push({ order, rate, match });
      else if (!exact.has(match.value)) exact.set(match.value, { order, rate });
    }
  }
  return { exact, patterns };
}
