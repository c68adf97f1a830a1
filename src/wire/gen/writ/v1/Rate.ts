// Generated from policy.proto by `npm run gen`. Do not edit.

import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.ts';

export interface Rate {
  'requests'?: (number);
  'period'?: (_google_protobuf_Duration | null);
}

export interface Rate__Output {
  'requests': (number);
  'period': (_google_protobuf_Duration__Output | null);
}
