// Generated from audit.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface LogPin {
  'origin'?: (string);
  'size'?: (number | string | Long);
}

export interface LogPin__Output {
  'origin': (string);
  'size': (string);
}
