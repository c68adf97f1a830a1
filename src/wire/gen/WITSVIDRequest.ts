// Generated from workloadapi.proto by `npm run gen`. Do not edit.

export interface WITSVIDRequest {
  'spiffeId'?: (string);
}

export interface WITSVIDRequest__Output {
  'spiffeId': (string);
}
