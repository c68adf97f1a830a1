// Generated from identity.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface EntryVersion {
  'id'?: (string);
  'revision'?: (number | string | Long);
}

export interface EntryVersion__Output {
  'id': (string);
  'revision': (string);
}
