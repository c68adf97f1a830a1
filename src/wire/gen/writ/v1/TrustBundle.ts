// Generated from enrollment.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface TrustBundle {
  'trustDomain'?: (string);
  'roots'?: (Buffer | Uint8Array | string)[];
  'jwks'?: (string);
  'sequence'?: (number | string | Long);
  'tainted'?: (string)[];
}

export interface TrustBundle__Output {
  'trustDomain': (string);
  'roots': (Buffer)[];
  'jwks': (string);
  'sequence': (string);
  'tainted': (string)[];
}
