// Generated from policy.proto by `npm run gen`. Do not edit.

import type { ServiceEndpoint as _writ_v1_ServiceEndpoint, ServiceEndpoint__Output as _writ_v1_ServiceEndpoint__Output } from '../../writ/v1/ServiceEndpoint.ts';

export interface Service {
  'name'?: (string);
  'namespace'?: (string);
  'spiffeId'?: (string);
  'endpoints'?: (_writ_v1_ServiceEndpoint)[];
}

export interface Service__Output {
  'name': (string);
  'namespace': (string);
  'spiffeId': (string);
  'endpoints': (_writ_v1_ServiceEndpoint__Output)[];
}
