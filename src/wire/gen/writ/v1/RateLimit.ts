// Generated from policy.proto by `npm run gen`. Do not edit.

import type { Rate as _writ_v1_Rate, Rate__Output as _writ_v1_Rate__Output } from '../../writ/v1/Rate.ts';
import type { RateOverride as _writ_v1_RateOverride, RateOverride__Output as _writ_v1_RateOverride__Output } from '../../writ/v1/RateOverride.ts';
import type { Long } from '@grpc/proto-loader';

export interface RateLimit {
  'namespace'?: (string);
  'name'?: (string);
  'revision'?: (number | string | Long);
  'total'?: (_writ_v1_Rate | null);
  'perSource'?: (_writ_v1_Rate | null);
  'overrides'?: (_writ_v1_RateOverride)[];
}

export interface RateLimit__Output {
  'namespace': (string);
  'name': (string);
  'revision': (string);
  'total': (_writ_v1_Rate__Output | null);
  'perSource': (_writ_v1_Rate__Output | null);
  'overrides': (_writ_v1_RateOverride__Output)[];
}
