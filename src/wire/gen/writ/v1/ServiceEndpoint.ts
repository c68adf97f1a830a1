// Generated from policy.proto by `npm run gen`. Do not edit.

import type { EndpointProtocol as _writ_v1_EndpointProtocol, EndpointProtocol__Output as _writ_v1_EndpointProtocol__Output } from '../../writ/v1/EndpointProtocol.ts';

export interface ServiceEndpoint {
  'address'?: (string);
  'protocol'?: (_writ_v1_EndpointProtocol);
  'applicationPort'?: (number);
}

export interface ServiceEndpoint__Output {
  'address': (string);
  'protocol': (_writ_v1_EndpointProtocol__Output);
  'applicationPort': (number);
}
