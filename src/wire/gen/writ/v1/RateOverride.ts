// Generated from policy.proto by `npm run gen`. Do not edit.

import type { StringMatch as _writ_v1_StringMatch, StringMatch__Output as _writ_v1_StringMatch__Output } from '../../writ/v1/StringMatch.ts';
import type { Rate as _writ_v1_Rate, Rate__Output as _writ_v1_Rate__Output } from '../../writ/v1/Rate.ts';

export interface RateOverride {
  'principals'?: (_writ_v1_StringMatch)[];
  'rate'?: (_writ_v1_Rate | null);
}

export interface RateOverride__Output {
  'principals': (_writ_v1_StringMatch__Output)[];
  'rate': (_writ_v1_Rate__Output | null);
}
