// Generated from policy.proto by `npm run gen`. Do not edit.

import type { AuthorizationPolicy as _writ_v1_AuthorizationPolicy, AuthorizationPolicy__Output as _writ_v1_AuthorizationPolicy__Output } from '../../writ/v1/AuthorizationPolicy.ts';
import type { Service as _writ_v1_Service, Service__Output as _writ_v1_Service__Output } from '../../writ/v1/Service.ts';
import type { TrustBundle as _writ_v1_TrustBundle, TrustBundle__Output as _writ_v1_TrustBundle__Output } from '../../writ/v1/TrustBundle.ts';

export interface SnapshotContent {
  'policies'?: (_writ_v1_AuthorizationPolicy)[];
  'services'?: (_writ_v1_Service)[];
  'bundle'?: (_writ_v1_TrustBundle | null);
  'federated'?: (_writ_v1_TrustBundle)[];
}

export interface SnapshotContent__Output {
  'policies': (_writ_v1_AuthorizationPolicy__Output)[];
  'services': (_writ_v1_Service__Output)[];
  'bundle': (_writ_v1_TrustBundle__Output | null);
  'federated': (_writ_v1_TrustBundle__Output)[];
}
