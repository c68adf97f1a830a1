// Generated from identity.proto by `npm run gen`. Do not edit.

import type { WorkloadEntry as _writ_v1_WorkloadEntry, WorkloadEntry__Output as _writ_v1_WorkloadEntry__Output } from '../../writ/v1/WorkloadEntry.ts';
import type { TrustBundle as _writ_v1_TrustBundle, TrustBundle__Output as _writ_v1_TrustBundle__Output } from '../../writ/v1/TrustBundle.ts';
import type { Long } from '@grpc/proto-loader';

export interface IdentityUpdate {
  'revision'?: (number | string | Long);
  'upserted'?: (_writ_v1_WorkloadEntry)[];
  'removed'?: (string)[];
  'bundles'?: (_writ_v1_TrustBundle)[];
  'removedBundles'?: (string)[];
  'more'?: (boolean);
}

export interface IdentityUpdate__Output {
  'revision': (string);
  'upserted': (_writ_v1_WorkloadEntry__Output)[];
  'removed': (string)[];
  'bundles': (_writ_v1_TrustBundle__Output)[];
  'removedBundles': (string)[];
  'more': (boolean);
}
