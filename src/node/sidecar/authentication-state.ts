import type { RequestAuthentication } from '../../core/policy/request-authentication.ts';
import type { SnapshotContent } from '../../core/policy/snapshot.ts';
import { compileUserTokenRules } from '../../core/policy/user-token-rules.ts';
import type { PolicyState } from './policy-state.ts';

/**
 * What a snapshot says of the tokens of end users and of plain text, ready to be used. What did not change stays the same
 * value, and with it what is remembered of tokens that have verified.
 *
 * @throws AppError `invalid` for keys that are none
 */
export function authenticationOf(
  { requestAuthentications = [], peerAuthentication }: SnapshotContent,
  before: PolicyState | undefined,
): Pick<PolicyState, 'userTokens' | 'requestAuthentications' | 'peerModes'> {
  const isSame = before !== undefined && sameRules(before.requestAuthentications ?? [], requestAuthentications);
  return {
    requestAuthentications,
    userTokens: isSame ? before.userTokens : compileUserTokenRules(requestAuthentications),
    peerModes: peerAuthentication,
  };
}

function sameRules(a: readonly RequestAuthentication[], b: readonly RequestAuthentication[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
