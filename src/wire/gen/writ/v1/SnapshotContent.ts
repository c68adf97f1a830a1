// Generated from policy.proto by `npm run gen`. Do not edit.

import type { AuthorizationPolicy as _writ_v1_AuthorizationPolicy, AuthorizationPolicy__Output as _writ_v1_AuthorizationPolicy__Output } from '../../writ/v1/AuthorizationPolicy.ts';
import type { Service as _writ_v1_Service, Service__Output as _writ_v1_Service__Output } from '../../writ/v1/Service.ts';
import type { TrustBundle as _writ_v1_TrustBundle, TrustBundle__Output as _writ_v1_TrustBundle__Output } from '../../writ/v1/TrustBundle.ts';
import type { RequestAuthentication as _writ_v1_RequestAuthentication, RequestAuthentication__Output as _writ_v1_RequestAuthentication__Output } from '../../writ/v1/RequestAuthentication.ts';
import type { PeerAuthentication as _writ_v1_PeerAuthentication, PeerAuthentication__Output as _writ_v1_PeerAuthentication__Output } from '../../writ/v1/PeerAuthentication.ts';
import type { RateLimit as _writ_v1_RateLimit, RateLimit__Output as _writ_v1_RateLimit__Output } from '../../writ/v1/RateLimit.ts';
import type { ExternalAuthorizer as _writ_v1_ExternalAuthorizer, ExternalAuthorizer__Output as _writ_v1_ExternalAuthorizer__Output } from '../../writ/v1/ExternalAuthorizer.ts';

export interface SnapshotContent {
  'policies'?: (_writ_v1_AuthorizationPolicy)[];
  'services'?: (_writ_v1_Service)[];
  'bundle'?: (_writ_v1_TrustBundle | null);
  'federated'?: (_writ_v1_TrustBundle)[];
  'requestAuthentications'?: (_writ_v1_RequestAuthentication)[];
  'peerAuthentication'?: (_writ_v1_PeerAuthentication | null);
  'rateLimits'?: (_writ_v1_RateLimit)[];
  'authorizers'?: (_writ_v1_ExternalAuthorizer)[];
  'egress'?: (_writ_v1_AuthorizationPolicy)[];
  'trustedProxies'?: (number);
}

export interface SnapshotContent__Output {
  'policies': (_writ_v1_AuthorizationPolicy__Output)[];
  'services': (_writ_v1_Service__Output)[];
  'bundle': (_writ_v1_TrustBundle__Output | null);
  'federated': (_writ_v1_TrustBundle__Output)[];
  'requestAuthentications': (_writ_v1_RequestAuthentication__Output)[];
  'peerAuthentication': (_writ_v1_PeerAuthentication__Output | null);
  'rateLimits': (_writ_v1_RateLimit__Output)[];
  'authorizers': (_writ_v1_ExternalAuthorizer__Output)[];
  'egress': (_writ_v1_AuthorizationPolicy__Output)[];
  'trustedProxies': (number);
}
