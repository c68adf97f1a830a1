// Generated from policy.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface PolicyNack {
  'revision'?: (number | string | Long);
  'hash'?: (Buffer | Uint8Array | string);
  'error'?: (string);
}

export interface PolicyNack__Output {
  'revision': (string);
  'hash': (Buffer);
  'error': (string);
}
