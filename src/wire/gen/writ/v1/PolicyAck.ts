// Generated from policy.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface PolicyAck {
  'revision'?: (number | string | Long);
  'hash'?: (Buffer | Uint8Array | string);
  'quarantineRevision'?: (number | string | Long);
}

export interface PolicyAck__Output {
  'revision': (string);
  'hash': (Buffer);
  'quarantineRevision': (string);
}
