import type { DecisionReason } from '../../../core/policy/model.ts';
import { DEFAULT_DENY } from '../../../core/policy/model.ts';
import type { Problem } from '../problem.ts';

/** What a caller is told when not even the refusal could be recorded. */
export const notRecorded: Problem = Object.freeze({
  status: 503,
  code: 'audit-unavailable',
  reason: 'audit-unavailable',
  detail: 'The decision could not be recorded, so the call was refused. Check the disk of the sidecar that was called.',
});

/** What a caller is told about an ambiguous request. */
export function ambiguous(why: string): Problem {
  const detail = `The request is ambiguous: ${why}.`;
  return { status: 400, code: 'invalid', reason: 'malformed-request', rule: DEFAULT_DENY, detail };
}

/** What a caller is told about a refusal that says nothing of its own. */
export function problemFor(reason: DecisionReason, rule: string): Problem {
  switch (reason) {
    case 'token-refused':
      return {
        status: 401,
        code: 'token-refused',
        reason,
        rule,
        detail:
          'The JWT-SVID is not valid here: wrong audience, expired, or not signed by the trust domain that it names.',
      };
    case 'no-policy':
      return {
        status: 503,
        code: 'unavailable',
        reason,
        rule,
        detail: 'The called sidecar has not received a policy yet.',
      };
    case 'no-identity':
      return {
        status: 503,
        code: 'unavailable',
        reason,
        rule,
        detail: 'The certificate of the called sidecar has expired.',
      };
    default:
      return { status: 403, code: 'forbidden', reason, rule, detail: `Refused by ${rule}.` };
  }
}
