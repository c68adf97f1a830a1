// Generated from identity.proto by `npm run gen`. Do not edit.

import type { IdentityHello as _writ_v1_IdentityHello, IdentityHello__Output as _writ_v1_IdentityHello__Output } from '../../writ/v1/IdentityHello.ts';
import type { IdentityAck as _writ_v1_IdentityAck, IdentityAck__Output as _writ_v1_IdentityAck__Output } from '../../writ/v1/IdentityAck.ts';

export interface WatchIdentityRequest {
  'hello'?: (_writ_v1_IdentityHello | null);
  'ack'?: (_writ_v1_IdentityAck | null);
  'message'?: "hello"|"ack";
}

export interface WatchIdentityRequest__Output {
  'hello'?: (_writ_v1_IdentityHello__Output | null);
  'ack'?: (_writ_v1_IdentityAck__Output | null);
  'message'?: "hello"|"ack";
}
