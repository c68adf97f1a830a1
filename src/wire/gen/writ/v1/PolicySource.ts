// Generated from policy.proto by `npm run gen`. Do not edit.

import type { StringMatch as _writ_v1_StringMatch, StringMatch__Output as _writ_v1_StringMatch__Output } from '../../writ/v1/StringMatch.ts';

export interface PolicySource {
  'principals'?: (_writ_v1_StringMatch)[];
  'namespaces'?: (_writ_v1_StringMatch)[];
}

export interface PolicySource__Output {
  'principals': (_writ_v1_StringMatch__Output)[];
  'namespaces': (_writ_v1_StringMatch__Output)[];
}
