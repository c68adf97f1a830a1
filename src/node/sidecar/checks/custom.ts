import type { ServiceError } from '@grpc/grpc-js';
import type { Logger } from '../../../base/log.ts';
import type { CustomCheck } from '../../../core/policy/model.ts';
import type { ExternalAuthorizer } from '../../../core/policy/snapshot.ts';
import type { Problem } from '../problem.ts';
import { AuthorizerPool } from './authorizer-pool.ts';
import type { Asked } from './check-request.ts';
import { checkRequest } from './check-request.ts';
import type { Agreed, Objected } from './check-response.ts';
import { readCheckResponse } from './check-response.ts';
import { bothChanges } from './request-changes.ts';

/** What external authorizers said about a call. */
export type CustomVerdict =
  | ({ readonly ok: true } & Agreed)
  | { readonly ok: false; readonly rule: string; readonly problem: Problem };

/**
 * Asks the external authorizers that CUSTOM rules name, one after the other: each sees what those before it have changed, and
 * the first that does not agree ends it. Whoever is not configured, cannot be reached, is late, or answers what cannot be
 * understood has not agreed.
 */
export class ExternalAuthorizers {
  readonly #pool = new AuthorizerPool();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  async ask(
    checks: readonly CustomCheck[],
    asked: Asked,
    configured: readonly ExternalAuthorizer[] | undefined,
  ): Promise<CustomVerdict> {
    let so: Agreed = { changes: asked.changes, target: asked.target, answer: undefined };
    for (const { provider, rule } of checks) {
      const authorizer = configured?.find(({ name }) => name === provider);
      const answer =
        authorizer === undefined
          ? this.#noAnswer(provider, 'it is not configured')
          : await this.#askOne(authorizer, { ...asked, ...so }, configured ?? []);
      if (!answer.ok) return { ok: false, rule, problem: problemOf(answer, rule) };
      so = {
        changes: bothChanges(so.changes, answer.changes),
        target: answer.target,
        answer: bothChanges(so.answer, answer.answer),
      };
    }
    return { ok: true, ...so };
  }

  close(): void {
    this.#pool.close();
  }

  async #askOne(
    authorizer: ExternalAuthorizer,
    asked: Asked,
    configured: readonly ExternalAuthorizer[],
  ): Promise<({ readonly ok: true } & Agreed) | Objected> {
    try {
      const response = await this.#pool.check(authorizer, checkRequest(asked), configured);
      return readCheckResponse(response, asked) ?? this.#noAnswer(authorizer.name, 'its answer cannot be understood');
    } catch (error) {
      // The text of the error may hold what the authorizer likes; its code does not.
      return this.#noAnswer(authorizer.name, 'it did not answer', (error as ServiceError).code);
    }
  }

  #noAnswer(provider: string, why: string, code?: unknown): Objected {
    this.#logger.warn({ provider, why, code }, 'an external authorizer did not decide; the call was refused');
    return { ok: false, answer: undefined };
  }
}

function problemOf({ answer }: Objected, rule: string): Problem {
  const said = answer === undefined ? 'did not answer' : 'refused';
  return {
    status: 403,
    code: 'forbidden',
    reason: 'custom-rule',
    rule,
    detail: `Refused by ${rule}: the external authorizer that it names ${said}.`,
    ...answer,
  };
}
