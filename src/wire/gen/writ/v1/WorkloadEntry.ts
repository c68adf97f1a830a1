// Generated from identity.proto by `npm run gen`. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.ts';
import type { Long } from '@grpc/proto-loader';

export interface WorkloadEntry {
  'id'?: (string);
  'revision'?: (number | string | Long);
  'spiffeId'?: (string);
  'selectors'?: (string)[];
  'federatesWith'?: (string)[];
  'hint'?: (string);
  'expiresAt'?: (_google_protobuf_Timestamp | null);
  'namespaces'?: (string)[];
  'dnsNames'?: (string)[];
}

export interface WorkloadEntry__Output {
  'id': (string);
  'revision': (string);
  'spiffeId': (string);
  'selectors': (string)[];
  'federatesWith': (string)[];
  'hint': (string);
  'expiresAt': (_google_protobuf_Timestamp__Output | null);
  'namespaces': (string)[];
  'dnsNames': (string)[];
}
