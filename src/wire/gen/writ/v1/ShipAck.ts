// Generated from audit.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface ShipAck {
  'epoch'?: (number | string | Long);
  'durableThroughSeq'?: (number | string | Long);
  'batchHash'?: (Buffer | Uint8Array | string);
}

export interface ShipAck__Output {
  'epoch': (string);
  'durableThroughSeq': (string);
  'batchHash': (Buffer);
}
