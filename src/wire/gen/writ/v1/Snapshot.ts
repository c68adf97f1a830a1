// Generated from policy.proto by `npm run gen`. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.ts';
import type { Quarantine as _writ_v1_Quarantine, Quarantine__Output as _writ_v1_Quarantine__Output } from '../../writ/v1/Quarantine.ts';
import type { Long } from '@grpc/proto-loader';

export interface Snapshot {
  'revision'?: (number | string | Long);
  'hash'?: (Buffer | Uint8Array | string);
  'content'?: (Buffer | Uint8Array | string);
  'publishedAt'?: (_google_protobuf_Timestamp | null);
  'quarantine'?: (_writ_v1_Quarantine | null);
  '_content'?: "content";
}

export interface Snapshot__Output {
  'revision': (string);
  'hash': (Buffer);
  'content'?: (Buffer);
  'publishedAt': (_google_protobuf_Timestamp__Output | null);
  'quarantine': (_writ_v1_Quarantine__Output | null);
  '_content'?: "content";
}
