import { decide } from '../../../core/policy/decide.ts';
import type { CustomCheck, Request } from '../../../core/policy/model.ts';
import { DEFAULT_DENY } from '../../../core/policy/model.ts';
import type { Cut } from '../live/live-call.ts';
import { isPlainTextAllowed } from '../plain-text.ts';
import type { PolicyState } from '../policy-state.ts';
import { headersOf } from './http-request.ts';

/** What an inbound call that is open was decided by. */
export interface InboundFacts {
  /** What the policies were asked when it began. */
  readonly request: Request | undefined;
  /** Its fields as they came: other policies may ask for others of them. */
  readonly fields: readonly string[];
  /** External authorizers that agreed to it. */
  readonly agreed: readonly CustomCheck[];
}

/**
 * Why an open inbound call would not be let in now; undefined when it would. It is the same call: a token that has expired
 * meanwhile was good when it began, no rate limit counts it again, and an external authorizer that has agreed is not asked
 * again. One that it was not asked about may not agree, and nobody waits for the answer while the call goes on.
 */
export function refusalNow(
  { request, fields, agreed }: InboundFacts,
  state: PolicyState | undefined,
  now: number,
): Omit<Cut, 'revision'> | undefined {
  if (state === undefined || request === undefined) return { reason: 'no-policy', rule: DEFAULT_DENY };
  if (request.plaintext === true && !isPlainTextAllowed(state, request.port)) {
    return { reason: 'plaintext-refused', rule: DEFAULT_DENY };
  }
  const { compiled } = state;
  const { http } = request;
  const {
    decision,
    reason,
    rule,
    custom = [],
  } = decide(compiled, {
    ...request,
    time: now,
    ...(http !== undefined && { http: { ...http, headers: headersOf(fields, compiled.uses.headers) } }),
  });
  if (decision === 'deny') return { reason, rule };
  const unasked = custom.find(({ provider }) => !agreed.some((check) => check.provider === provider));
  return unasked === undefined ? undefined : { reason: 'custom-rule', rule: unasked.rule };
}
