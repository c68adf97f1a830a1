// Generated from policy.proto by `npm run gen`. Do not edit.

import type { StringMatch as _writ_v1_StringMatch, StringMatch__Output as _writ_v1_StringMatch__Output } from '../../writ/v1/StringMatch.ts';
import type { PolicyCondition as _writ_v1_PolicyCondition, PolicyCondition__Output as _writ_v1_PolicyCondition__Output } from '../../writ/v1/PolicyCondition.ts';

export interface PolicyOperation {
  'methods'?: (_writ_v1_StringMatch)[];
  'paths'?: (_writ_v1_StringMatch)[];
  'ports'?: (number)[];
  'where'?: (_writ_v1_PolicyCondition)[];
}

export interface PolicyOperation__Output {
  'methods': (_writ_v1_StringMatch__Output)[];
  'paths': (_writ_v1_StringMatch__Output)[];
  'ports': (number)[];
  'where': (_writ_v1_PolicyCondition__Output)[];
}
