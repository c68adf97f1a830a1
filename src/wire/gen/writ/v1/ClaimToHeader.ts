// Generated from policy.proto by `npm run gen`. Do not edit.

export interface ClaimToHeader {
  'header'?: (string);
  'claim'?: (string);
}

export interface ClaimToHeader__Output {
  'header': (string);
  'claim': (string);
}
