// Generated from identity.proto by `npm run gen`. Do not edit.

export interface BundleVersion {
  'trustDomain'?: (string);
  'hash'?: (Buffer | Uint8Array | string);
}

export interface BundleVersion__Output {
  'trustDomain': (string);
  'hash': (Buffer);
}
