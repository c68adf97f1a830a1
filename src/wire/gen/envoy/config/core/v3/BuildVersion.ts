// Generated from base.proto by `npm run gen`. Do not edit.

import type { SemanticVersion as _envoy_type_v3_SemanticVersion, SemanticVersion__Output as _envoy_type_v3_SemanticVersion__Output } from '../../../../envoy/type/v3/SemanticVersion.ts';

export interface BuildVersion {
  'version'?: (_envoy_type_v3_SemanticVersion | null);
}

export interface BuildVersion__Output {
  'version': (_envoy_type_v3_SemanticVersion__Output | null);
}
