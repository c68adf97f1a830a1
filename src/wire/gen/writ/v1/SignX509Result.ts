// Generated from identity.proto by `npm run gen`. Do not edit.

import type { Certificate as _writ_v1_Certificate, Certificate__Output as _writ_v1_Certificate__Output } from '../../writ/v1/Certificate.ts';
import type { ItemError as _writ_v1_ItemError, ItemError__Output as _writ_v1_ItemError__Output } from '../../writ/v1/ItemError.ts';

export interface SignX509Result {
  'certificate'?: (_writ_v1_Certificate | null);
  'error'?: (_writ_v1_ItemError | null);
  'result'?: "certificate"|"error";
}

export interface SignX509Result__Output {
  'certificate'?: (_writ_v1_Certificate__Output | null);
  'error'?: (_writ_v1_ItemError__Output | null);
  'result'?: "certificate"|"error";
}
