// Generated from enrollment.proto by `npm run gen`. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.ts';

export interface Certificate {
  'chain'?: (Buffer | Uint8Array | string)[];
  'spiffeId'?: (string);
  'instanceId'?: (string);
  'notBefore'?: (_google_protobuf_Timestamp | null);
  'notAfter'?: (_google_protobuf_Timestamp | null);
}

export interface Certificate__Output {
  'chain': (Buffer)[];
  'spiffeId': (string);
  'instanceId': (string);
  'notBefore': (_google_protobuf_Timestamp__Output | null);
  'notAfter': (_google_protobuf_Timestamp__Output | null);
}
