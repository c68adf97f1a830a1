// Generated from policy.proto by `npm run gen`. Do not edit.

import type { JwtHeader as _writ_v1_JwtHeader, JwtHeader__Output as _writ_v1_JwtHeader__Output } from '../../writ/v1/JwtHeader.ts';
import type { ClaimToHeader as _writ_v1_ClaimToHeader, ClaimToHeader__Output as _writ_v1_ClaimToHeader__Output } from '../../writ/v1/ClaimToHeader.ts';

export interface JwtRule {
  'issuer'?: (string);
  'audiences'?: (string)[];
  'jwks'?: (string);
  'fromHeaders'?: (_writ_v1_JwtHeader)[];
  'fromParams'?: (string)[];
  'fromCookies'?: (string)[];
  'forwardOriginalToken'?: (boolean);
  'outputPayloadToHeader'?: (string);
  'outputClaims'?: (_writ_v1_ClaimToHeader)[];
  'spaceDelimitedClaims'?: (string)[];
}

export interface JwtRule__Output {
  'issuer': (string);
  'audiences': (string)[];
  'jwks': (string);
  'fromHeaders': (_writ_v1_JwtHeader__Output)[];
  'fromParams': (string)[];
  'fromCookies': (string)[];
  'forwardOriginalToken': (boolean);
  'outputPayloadToHeader': (string);
  'outputClaims': (_writ_v1_ClaimToHeader__Output)[];
  'spaceDelimitedClaims': (string)[];
}
