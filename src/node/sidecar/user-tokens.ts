import type { Clock } from '../../base/clock.ts';
import { AppError } from '../../base/errors.ts';
import type { UserTokenRule } from '../../core/policy/user-token-rules.ts';
import type { UserToken } from '../../core/policy/verify-user-token.ts';
import { verifyUserToken } from '../../core/policy/verify-user-token.ts';

/** Accepted tokens that are remembered, so that a caller who repeats one costs no signature check. */
const MAX_REMEMBERED = 1024;

/** A token that verified, and the rule that accepted it. */
export interface GoodUserToken {
  readonly by: UserTokenRule;
  readonly token: UserToken;
}

/** Verifies tokens of end users. */
export class UserTokenVerifier {
  readonly #clock: Clock;
  /** By rule, and gone with it: keys may have been withdrawn. */
  #accepted = new WeakMap<UserTokenRule, Map<string, GoodUserToken>>();
  #remembered = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** By the first of the rules that accepts it; undefined for a token that is not good. */
  async verify(text: string, rules: readonly UserTokenRule[]): Promise<GoodUserToken | undefined> {
    for (const rule of rules) {
      const good = this.#known(text, rule) ?? (await this.#verify(text, rule));
      if (good !== undefined) return good;
    }
    return undefined;
  }

  #known(text: string, rule: UserTokenRule): GoodUserToken | undefined {
    const accepted = this.#accepted.get(rule);
    const known = accepted?.get(text);
    if (known === undefined || this.#clock.now() < known.token.expiresAt) return known;
    accepted?.delete(text);
    return undefined;
  }

  async #verify(text: string, by: UserTokenRule): Promise<GoodUserToken | undefined> {
    try {
      const good = Object.freeze({ by, token: await verifyUserToken(text, by, this.#clock.now()) });
      this.#remember(text, good);
      return good;
    } catch (error) {
      if (error instanceof AppError) return undefined;
      throw error;
    }
  }

  #remember(text: string, good: GoodUserToken): void {
    // All at once: which of them will be needed again is not known.
    if (this.#remembered >= MAX_REMEMBERED) {
      this.#accepted = new WeakMap();
      this.#remembered = 0;
    }
    const accepted = this.#accepted.get(good.by) ?? new Map<string, GoodUserToken>();
    accepted.set(text, good);
    this.#accepted.set(good.by, accepted);
    this.#remembered += 1;
  }
}
