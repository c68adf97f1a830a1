// Generated from audit.proto by `npm run gen`. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface ShipLogged {
  'checkpoint'?: (Buffer | Uint8Array | string);
  'consistency'?: (Buffer | Uint8Array | string)[];
  'keys'?: (string)[];
  'epoch'?: (number | string | Long);
  'loggedThroughSeq'?: (number | string | Long);
}

export interface ShipLogged__Output {
  'checkpoint': (Buffer);
  'consistency': (Buffer)[];
  'keys': (string)[];
  'epoch': (string);
  'loggedThroughSeq': (string);
}
