// Generated from policy.proto by `npm run gen`. Do not edit.

import type { PolicyAction as _writ_v1_PolicyAction, PolicyAction__Output as _writ_v1_PolicyAction__Output } from '../../writ/v1/PolicyAction.ts';
import type { PolicyRule as _writ_v1_PolicyRule, PolicyRule__Output as _writ_v1_PolicyRule__Output } from '../../writ/v1/PolicyRule.ts';
import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.ts';
import type { Long } from '@grpc/proto-loader';

export interface AuthorizationPolicy {
  'namespace'?: (string);
  'name'?: (string);
  'revision'?: (number | string | Long);
  'action'?: (_writ_v1_PolicyAction);
  'rules'?: (_writ_v1_PolicyRule)[];
  'shadow'?: (boolean);
  'notBefore'?: (_google_protobuf_Timestamp | null);
  'notAfter'?: (_google_protobuf_Timestamp | null);
  'provider'?: (string);
}

export interface AuthorizationPolicy__Output {
  'namespace': (string);
  'name': (string);
  'revision': (string);
  'action': (_writ_v1_PolicyAction__Output);
  'rules': (_writ_v1_PolicyRule__Output)[];
  'shadow': (boolean);
  'notBefore': (_google_protobuf_Timestamp__Output | null);
  'notAfter': (_google_protobuf_Timestamp__Output | null);
  'provider': (string);
}
