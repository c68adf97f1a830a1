import type { CustomCheck } from '../../../core/policy/model.ts';
import type { ExternalAuthorizer } from '../../../core/policy/snapshot.ts';
import type { Call } from '../enforce.ts';
import type { Problem } from '../problem.ts';
import type { RequestChanges } from './request-changes.ts';

/** What external authorizers said about a call. */
export type CustomVerdict =
  | { readonly ok: true; readonly changes: RequestChanges | undefined }
  | { readonly ok: false; readonly rule: string; readonly problem: Problem };

/** What an authorizer is told of a call. */
export interface Asked {
  readonly call: Call;
  /** Normalised, with the query. */
  readonly target: string;
  readonly destination: string;
  readonly changes: RequestChanges | undefined;
}

/** Asks the external authorizers that CUSTOM rules name. */
export class ExternalAuthorizers {
  /** One after the other; the first that does not agree ends it. Whoever is not configured does not agree. */
  async ask(
    checks: readonly CustomCheck[],
    _asked: Asked,
    _configured: readonly ExternalAuthorizer[] | undefined,
  ): Promise<CustomVerdict> {
    const [first] = checks;
    if (first === undefined) return { ok: true, changes: undefined };
    return { ok: false, rule: first.rule, problem: unavailable(first.rule) };
  }

  close(): void {}
}

function unavailable(rule: string): Problem {
  return {
    status: 403,
    code: 'forbidden',
    reason: 'custom-rule',
    rule,
    detail: `Refused by ${rule}: the external authorizer that it names did not agree.`,
  };
}
