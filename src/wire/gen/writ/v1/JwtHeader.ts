// Generated from policy.proto by `npm run gen`. Do not edit.

export interface JwtHeader {
  'name'?: (string);
  'prefix'?: (string);
}

export interface JwtHeader__Output {
  'name': (string);
  'prefix': (string);
}
