// Generated from common.proto by `npm run gen`. Do not edit.

import type { DataSource as _envoy_config_core_v3_DataSource, DataSource__Output as _envoy_config_core_v3_DataSource__Output } from '../../../../../envoy/config/core/v3/DataSource.ts';

export interface TlsCertificate {
  'certificateChain'?: (_envoy_config_core_v3_DataSource | null);
  'privateKey'?: (_envoy_config_core_v3_DataSource | null);
}

export interface TlsCertificate__Output {
  'certificateChain': (_envoy_config_core_v3_DataSource__Output | null);
  'privateKey': (_envoy_config_core_v3_DataSource__Output | null);
}
