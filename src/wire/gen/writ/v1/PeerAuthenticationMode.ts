// Generated from policy.proto by `npm run gen`. Do not edit.

export const PeerAuthenticationMode = {
  PEER_AUTHENTICATION_MODE_UNSPECIFIED: 'PEER_AUTHENTICATION_MODE_UNSPECIFIED',
  PEER_AUTHENTICATION_MODE_STRICT: 'PEER_AUTHENTICATION_MODE_STRICT',
  PEER_AUTHENTICATION_MODE_PERMISSIVE: 'PEER_AUTHENTICATION_MODE_PERMISSIVE',
} as const;

export type PeerAuthenticationMode =
  | 'PEER_AUTHENTICATION_MODE_UNSPECIFIED'
  | 0
  | 'PEER_AUTHENTICATION_MODE_STRICT'
  | 1
  | 'PEER_AUTHENTICATION_MODE_PERMISSIVE'
  | 2

export type PeerAuthenticationMode__Output = typeof PeerAuthenticationMode[keyof typeof PeerAuthenticationMode]
