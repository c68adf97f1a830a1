// Generated from policy.proto by `npm run gen`. Do not edit.

import type { StringMatch as _writ_v1_StringMatch, StringMatch__Output as _writ_v1_StringMatch__Output } from '../../writ/v1/StringMatch.ts';
import type { PolicyCondition as _writ_v1_PolicyCondition, PolicyCondition__Output as _writ_v1_PolicyCondition__Output } from '../../writ/v1/PolicyCondition.ts';

export interface PolicySource {
  'principals'?: (_writ_v1_StringMatch)[];
  'namespaces'?: (_writ_v1_StringMatch)[];
  'where'?: (_writ_v1_PolicyCondition)[];
}

export interface PolicySource__Output {
  'principals': (_writ_v1_StringMatch__Output)[];
  'namespaces': (_writ_v1_StringMatch__Output)[];
  'where': (_writ_v1_PolicyCondition__Output)[];
}
