// Generated from policy.proto by `npm run gen`. Do not edit.

import type { JwtRule as _writ_v1_JwtRule, JwtRule__Output as _writ_v1_JwtRule__Output } from '../../writ/v1/JwtRule.ts';
import type { Long } from '@grpc/proto-loader';

export interface RequestAuthentication {
  'namespace'?: (string);
  'name'?: (string);
  'revision'?: (number | string | Long);
  'rules'?: (_writ_v1_JwtRule)[];
}

export interface RequestAuthentication__Output {
  'namespace': (string);
  'name': (string);
  'revision': (string);
  'rules': (_writ_v1_JwtRule__Output)[];
}
