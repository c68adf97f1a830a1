// Generated from identity.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface IdentityAck {
  'revision'?: (number | string | Long);
}

export interface IdentityAck__Output {
  'revision': (string);
}
