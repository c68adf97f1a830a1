// Generated from audit.proto by `npm run gen`. Do not edit.

import type { ShipWelcome as _writ_v1_ShipWelcome, ShipWelcome__Output as _writ_v1_ShipWelcome__Output } from '../../writ/v1/ShipWelcome.ts';
import type { ShipAck as _writ_v1_ShipAck, ShipAck__Output as _writ_v1_ShipAck__Output } from '../../writ/v1/ShipAck.ts';
import type { ShipNack as _writ_v1_ShipNack, ShipNack__Output as _writ_v1_ShipNack__Output } from '../../writ/v1/ShipNack.ts';
import type { ShipLogged as _writ_v1_ShipLogged, ShipLogged__Output as _writ_v1_ShipLogged__Output } from '../../writ/v1/ShipLogged.ts';

export interface ShipResponse {
  'welcome'?: (_writ_v1_ShipWelcome | null);
  'ack'?: (_writ_v1_ShipAck | null);
  'nack'?: (_writ_v1_ShipNack | null);
  'logged'?: (_writ_v1_ShipLogged | null);
  'message'?: "welcome"|"ack"|"nack"|"logged";
}

export interface ShipResponse__Output {
  'welcome'?: (_writ_v1_ShipWelcome__Output | null);
  'ack'?: (_writ_v1_ShipAck__Output | null);
  'nack'?: (_writ_v1_ShipNack__Output | null);
  'logged'?: (_writ_v1_ShipLogged__Output | null);
  'message'?: "welcome"|"ack"|"nack"|"logged";
}
