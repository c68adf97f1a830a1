// Generated from identity.proto by `npm run gen`. Do not edit.

import type { EntryVersion as _writ_v1_EntryVersion, EntryVersion__Output as _writ_v1_EntryVersion__Output } from '../../writ/v1/EntryVersion.ts';
import type { BundleVersion as _writ_v1_BundleVersion, BundleVersion__Output as _writ_v1_BundleVersion__Output } from '../../writ/v1/BundleVersion.ts';
import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.ts';

export interface IdentityHello {
  'entries'?: (_writ_v1_EntryVersion)[];
  'bundles'?: (_writ_v1_BundleVersion)[];
  'version'?: (string);
  'time'?: (_google_protobuf_Timestamp | null);
}

export interface IdentityHello__Output {
  'entries': (_writ_v1_EntryVersion__Output)[];
  'bundles': (_writ_v1_BundleVersion__Output)[];
  'version': (string);
  'time': (_google_protobuf_Timestamp__Output | null);
}
