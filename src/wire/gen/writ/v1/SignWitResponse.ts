// Generated from identity.proto by `npm run gen`. Do not edit.

import type { SignWitResult as _writ_v1_SignWitResult, SignWitResult__Output as _writ_v1_SignWitResult__Output } from '../../writ/v1/SignWitResult.ts';

export interface SignWitResponse {
  'results'?: (_writ_v1_SignWitResult)[];
}

export interface SignWitResponse__Output {
  'results': (_writ_v1_SignWitResult__Output)[];
}
