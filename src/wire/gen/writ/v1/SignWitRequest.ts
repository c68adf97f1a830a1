// Generated from identity.proto by `npm run gen`. Do not edit.

import type { SignWitItem as _writ_v1_SignWitItem, SignWitItem__Output as _writ_v1_SignWitItem__Output } from '../../writ/v1/SignWitItem.ts';

export interface SignWitRequest {
  'items'?: (_writ_v1_SignWitItem)[];
}

export interface SignWitRequest__Output {
  'items': (_writ_v1_SignWitItem__Output)[];
}
