// Generated from identity.proto by `npm run gen`. Do not edit.

import type { WitSvid as _writ_v1_WitSvid, WitSvid__Output as _writ_v1_WitSvid__Output } from '../../writ/v1/WitSvid.ts';
import type { ItemError as _writ_v1_ItemError, ItemError__Output as _writ_v1_ItemError__Output } from '../../writ/v1/ItemError.ts';

export interface SignWitResult {
  'svid'?: (_writ_v1_WitSvid | null);
  'error'?: (_writ_v1_ItemError | null);
  'result'?: "svid"|"error";
}

export interface SignWitResult__Output {
  'svid'?: (_writ_v1_WitSvid__Output | null);
  'error'?: (_writ_v1_ItemError__Output | null);
  'result'?: "svid"|"error";
}
