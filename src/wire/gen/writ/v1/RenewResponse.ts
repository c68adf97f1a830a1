// Generated from identity.proto by `npm run gen`. Do not edit.

import type { Certificate as _writ_v1_Certificate, Certificate__Output as _writ_v1_Certificate__Output } from '../../writ/v1/Certificate.ts';

export interface RenewResponse {
  'certificate'?: (_writ_v1_Certificate | null);
}

export interface RenewResponse__Output {
  'certificate': (_writ_v1_Certificate__Output | null);
}
