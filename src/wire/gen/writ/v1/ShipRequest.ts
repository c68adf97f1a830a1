// Generated from audit.proto by `npm run gen`. Do not edit.

import type { ShipHello as _writ_v1_ShipHello, ShipHello__Output as _writ_v1_ShipHello__Output } from '../../writ/v1/ShipHello.ts';
import type { Batch as _writ_v1_Batch, Batch__Output as _writ_v1_Batch__Output } from '../../writ/v1/Batch.ts';

export interface ShipRequest {
  'hello'?: (_writ_v1_ShipHello | null);
  'batch'?: (_writ_v1_Batch | null);
  'message'?: "hello"|"batch";
}

export interface ShipRequest__Output {
  'hello'?: (_writ_v1_ShipHello__Output | null);
  'batch'?: (_writ_v1_Batch__Output | null);
  'message'?: "hello"|"batch";
}
