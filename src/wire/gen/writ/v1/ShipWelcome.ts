// Generated from audit.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface ShipWelcome {
  'streamId'?: (number | string | Long);
  'expectedEpoch'?: (number | string | Long);
  'expectedSeq'?: (number | string | Long);
  'expectedPrevHash'?: (Buffer | Uint8Array | string);
  'creditBatches'?: (number);
  'sendsLog'?: (boolean);
}

export interface ShipWelcome__Output {
  'streamId': (string);
  'expectedEpoch': (string);
  'expectedSeq': (string);
  'expectedPrevHash': (Buffer);
  'creditBatches': (number);
  'sendsLog': (boolean);
}
