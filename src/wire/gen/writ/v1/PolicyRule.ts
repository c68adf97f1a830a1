// Generated from policy.proto by `npm run gen`. Do not edit.

import type { PolicySource as _writ_v1_PolicySource, PolicySource__Output as _writ_v1_PolicySource__Output } from '../../writ/v1/PolicySource.ts';
import type { PolicyOperation as _writ_v1_PolicyOperation, PolicyOperation__Output as _writ_v1_PolicyOperation__Output } from '../../writ/v1/PolicyOperation.ts';
import type { PolicyCondition as _writ_v1_PolicyCondition, PolicyCondition__Output as _writ_v1_PolicyCondition__Output } from '../../writ/v1/PolicyCondition.ts';

export interface PolicyRule {
  'from'?: (_writ_v1_PolicySource)[];
  'to'?: (_writ_v1_PolicyOperation)[];
  'when'?: (_writ_v1_PolicyCondition)[];
}

export interface PolicyRule__Output {
  'from': (_writ_v1_PolicySource__Output)[];
  'to': (_writ_v1_PolicyOperation__Output)[];
  'when': (_writ_v1_PolicyCondition__Output)[];
}
