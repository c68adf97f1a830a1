// Generated from policy.proto by `npm run gen`. Do not edit.

import type { PeerAuthenticationMode as _writ_v1_PeerAuthenticationMode, PeerAuthenticationMode__Output as _writ_v1_PeerAuthenticationMode__Output } from '../../writ/v1/PeerAuthenticationMode.ts';

export interface PeerAuthentication {
  'mode'?: (_writ_v1_PeerAuthenticationMode);
  'ports'?: ({[key: number]: _writ_v1_PeerAuthenticationMode});
}

export interface PeerAuthentication__Output {
  'mode': (_writ_v1_PeerAuthenticationMode__Output);
  'ports': ({[key: number]: _writ_v1_PeerAuthenticationMode__Output});
}
