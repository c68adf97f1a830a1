// Generated from audit.proto by `npm run gen`. Do not edit.

import type { BatchEncoding as _writ_v1_BatchEncoding, BatchEncoding__Output as _writ_v1_BatchEncoding__Output } from '../../writ/v1/BatchEncoding.ts';

export interface Batch {
  'header'?: (Buffer | Uint8Array | string);
  'signature'?: (Buffer | Uint8Array | string);
  'events'?: (Buffer | Uint8Array | string);
  'encoding'?: (_writ_v1_BatchEncoding);
}

export interface Batch__Output {
  'header': (Buffer);
  'signature': (Buffer);
  'events': (Buffer);
  'encoding': (_writ_v1_BatchEncoding__Output);
}
