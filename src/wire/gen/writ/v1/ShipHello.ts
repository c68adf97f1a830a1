// Generated from audit.proto by `npm run gen`. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.ts';
import type { LogPins as _writ_v1_LogPins, LogPins__Output as _writ_v1_LogPins__Output } from '../../writ/v1/LogPins.ts';
import type { Long } from '@grpc/proto-loader';

export interface ShipHello {
  'bootId'?: (string);
  'epoch'?: (number | string | Long);
  'nextSeq'?: (number | string | Long);
  'lastBatchHash'?: (Buffer | Uint8Array | string);
  'batchKey'?: (Buffer | Uint8Array | string);
  'batchKeySignature'?: (Buffer | Uint8Array | string);
  'time'?: (_google_protobuf_Timestamp | null);
  'log'?: (_writ_v1_LogPins | null);
}

export interface ShipHello__Output {
  'bootId': (string);
  'epoch': (string);
  'nextSeq': (string);
  'lastBatchHash': (Buffer);
  'batchKey': (Buffer);
  'batchKeySignature': (Buffer);
  'time': (_google_protobuf_Timestamp__Output | null);
  'log': (_writ_v1_LogPins__Output | null);
}
