// Generated from identity.proto by `npm run gen`. Do not edit.

import type { SignX509Item as _writ_v1_SignX509Item, SignX509Item__Output as _writ_v1_SignX509Item__Output } from '../../writ/v1/SignX509Item.ts';

export interface SignX509Request {
  'items'?: (_writ_v1_SignX509Item)[];
}

export interface SignX509Request__Output {
  'items': (_writ_v1_SignX509Item__Output)[];
}
