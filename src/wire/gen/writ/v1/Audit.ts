// Generated from audit.proto by `npm run gen`. Do not edit.

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { ShipRequest as _writ_v1_ShipRequest, ShipRequest__Output as _writ_v1_ShipRequest__Output } from '../../writ/v1/ShipRequest.ts';
import type { ShipResponse as _writ_v1_ShipResponse, ShipResponse__Output as _writ_v1_ShipResponse__Output } from '../../writ/v1/ShipResponse.ts';

export interface AuditClient extends grpc.Client {
  Ship(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_ShipRequest, _writ_v1_ShipResponse__Output>;
  Ship(options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_ShipRequest, _writ_v1_ShipResponse__Output>;
  ship(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_ShipRequest, _writ_v1_ShipResponse__Output>;
  ship(options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_ShipRequest, _writ_v1_ShipResponse__Output>;
  
}

export interface AuditHandlers extends grpc.UntypedServiceImplementation {
  Ship: grpc.handleBidiStreamingCall<_writ_v1_ShipRequest__Output, _writ_v1_ShipResponse>;
  
}

export interface AuditDefinition extends grpc.ServiceDefinition {
  Ship: MethodDefinition<_writ_v1_ShipRequest, _writ_v1_ShipResponse, _writ_v1_ShipRequest__Output, _writ_v1_ShipResponse__Output>
}
