// Generated from enrollment.proto by `npm run gen`. Do not edit.

import type { AttestBegin as _writ_v1_AttestBegin, AttestBegin__Output as _writ_v1_AttestBegin__Output } from '../../writ/v1/AttestBegin.ts';

export interface AttestRequest {
  'begin'?: (_writ_v1_AttestBegin | null);
  'challengeResponse'?: (Buffer | Uint8Array | string);
  'step'?: "begin"|"challengeResponse";
}

export interface AttestRequest__Output {
  'begin'?: (_writ_v1_AttestBegin__Output | null);
  'challengeResponse'?: (Buffer);
  'step'?: "begin"|"challengeResponse";
}
