// Generated from audit.proto by `npm run gen`. Do not edit.

import type { ShipNackCode as _writ_v1_ShipNackCode, ShipNackCode__Output as _writ_v1_ShipNackCode__Output } from '../../writ/v1/ShipNackCode.ts';
import type { Long } from '@grpc/proto-loader';

export interface ShipNack {
  'code'?: (_writ_v1_ShipNackCode);
  'expectedEpoch'?: (number | string | Long);
  'expectedSeq'?: (number | string | Long);
  'expectedPrevHash'?: (Buffer | Uint8Array | string);
  'message'?: (string);
}

export interface ShipNack__Output {
  'code': (_writ_v1_ShipNackCode__Output);
  'expectedEpoch': (string);
  'expectedSeq': (string);
  'expectedPrevHash': (Buffer);
  'message': (string);
}
