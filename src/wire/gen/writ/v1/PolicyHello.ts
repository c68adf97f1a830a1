// Generated from policy.proto by `npm run gen`. Do not edit.

import type { InboundEndpoint as _writ_v1_InboundEndpoint, InboundEndpoint__Output as _writ_v1_InboundEndpoint__Output } from '../../writ/v1/InboundEndpoint.ts';

export interface PolicyHello {
  'inbound'?: (_writ_v1_InboundEndpoint)[];
  'version'?: (string);
  'haveHash'?: (Buffer | Uint8Array | string);
  'features'?: (string)[];
}

export interface PolicyHello__Output {
  'inbound': (_writ_v1_InboundEndpoint__Output)[];
  'version': (string);
  'haveHash': (Buffer);
  'features': (string)[];
}
