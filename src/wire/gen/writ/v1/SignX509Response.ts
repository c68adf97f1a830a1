// Generated from identity.proto by `npm run gen`. Do not edit.

import type { SignX509Result as _writ_v1_SignX509Result, SignX509Result__Output as _writ_v1_SignX509Result__Output } from '../../writ/v1/SignX509Result.ts';

export interface SignX509Response {
  'results'?: (_writ_v1_SignX509Result)[];
}

export interface SignX509Response__Output {
  'results': (_writ_v1_SignX509Result__Output)[];
}
