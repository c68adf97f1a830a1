// Generated from policy.proto by `npm run gen`. Do not edit.

import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.ts';

export interface ExternalAuthorizer {
  'name'?: (string);
  'address'?: (string);
  'timeout'?: (_google_protobuf_Duration | null);
  'ca'?: (string);
  'maxBodyBytes'?: (number);
}

export interface ExternalAuthorizer__Output {
  'name': (string);
  'address': (string);
  'timeout': (_google_protobuf_Duration__Output | null);
  'ca': (string);
  'maxBodyBytes': (number);
}
