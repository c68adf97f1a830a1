// Generated from identity.proto by `npm run gen`. Do not edit.

export interface SignJwtRequest {
  'audience'?: (string)[];
}

export interface SignJwtRequest__Output {
  'audience': (string)[];
}
