// Generated from policy.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface Quarantine {
  'revision'?: (number | string | Long);
  'spiffeIds'?: (string)[];
}

export interface Quarantine__Output {
  'revision': (string);
  'spiffeIds': (string)[];
}
