// Generated from policy.proto by `npm run gen`. Do not edit.

import type { PolicyHello as _writ_v1_PolicyHello, PolicyHello__Output as _writ_v1_PolicyHello__Output } from '../../writ/v1/PolicyHello.ts';
import type { PolicyAck as _writ_v1_PolicyAck, PolicyAck__Output as _writ_v1_PolicyAck__Output } from '../../writ/v1/PolicyAck.ts';
import type { PolicyNack as _writ_v1_PolicyNack, PolicyNack__Output as _writ_v1_PolicyNack__Output } from '../../writ/v1/PolicyNack.ts';
import type { PolicyGoodbye as _writ_v1_PolicyGoodbye, PolicyGoodbye__Output as _writ_v1_PolicyGoodbye__Output } from '../../writ/v1/PolicyGoodbye.ts';

export interface WatchPolicyRequest {
  'hello'?: (_writ_v1_PolicyHello | null);
  'ack'?: (_writ_v1_PolicyAck | null);
  'nack'?: (_writ_v1_PolicyNack | null);
  'goodbye'?: (_writ_v1_PolicyGoodbye | null);
  'message'?: "hello"|"ack"|"nack"|"goodbye";
}

export interface WatchPolicyRequest__Output {
  'hello'?: (_writ_v1_PolicyHello__Output | null);
  'ack'?: (_writ_v1_PolicyAck__Output | null);
  'nack'?: (_writ_v1_PolicyNack__Output | null);
  'goodbye'?: (_writ_v1_PolicyGoodbye__Output | null);
  'message'?: "hello"|"ack"|"nack"|"goodbye";
}
