// Generated from enrollment.proto by `npm run gen`. Do not edit.

import type { Certificate as _writ_v1_Certificate, Certificate__Output as _writ_v1_Certificate__Output } from '../../writ/v1/Certificate.ts';
import type { TrustBundle as _writ_v1_TrustBundle, TrustBundle__Output as _writ_v1_TrustBundle__Output } from '../../writ/v1/TrustBundle.ts';
import type { Entry as _writ_v1_Entry, Entry__Output as _writ_v1_Entry__Output } from '../../writ/v1/Entry.ts';

export interface AttestResult {
  'certificate'?: (_writ_v1_Certificate | null);
  'bundle'?: (_writ_v1_TrustBundle | null);
  'entry'?: (_writ_v1_Entry | null);
}

export interface AttestResult__Output {
  'certificate': (_writ_v1_Certificate__Output | null);
  'bundle': (_writ_v1_TrustBundle__Output | null);
  'entry': (_writ_v1_Entry__Output | null);
}
