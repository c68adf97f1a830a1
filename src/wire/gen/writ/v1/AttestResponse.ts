// Generated from enrollment.proto by `npm run gen`. Do not edit.

import type { AttestResult as _writ_v1_AttestResult, AttestResult__Output as _writ_v1_AttestResult__Output } from '../../writ/v1/AttestResult.ts';

export interface AttestResponse {
  'challenge'?: (Buffer | Uint8Array | string);
  'result'?: (_writ_v1_AttestResult | null);
  'step'?: "challenge"|"result";
}

export interface AttestResponse__Output {
  'challenge'?: (Buffer);
  'result'?: (_writ_v1_AttestResult__Output | null);
  'step'?: "challenge"|"result";
}
