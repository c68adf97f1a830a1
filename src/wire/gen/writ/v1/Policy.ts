// Generated from policy.proto by `npm run gen`. Do not edit.

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { Snapshot as _writ_v1_Snapshot, Snapshot__Output as _writ_v1_Snapshot__Output } from '../../writ/v1/Snapshot.ts';
import type { WatchPolicyRequest as _writ_v1_WatchPolicyRequest, WatchPolicyRequest__Output as _writ_v1_WatchPolicyRequest__Output } from '../../writ/v1/WatchPolicyRequest.ts';

export interface PolicyClient extends grpc.Client {
  Watch(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_WatchPolicyRequest, _writ_v1_Snapshot__Output>;
  Watch(options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_WatchPolicyRequest, _writ_v1_Snapshot__Output>;
  watch(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_WatchPolicyRequest, _writ_v1_Snapshot__Output>;
  watch(options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_WatchPolicyRequest, _writ_v1_Snapshot__Output>;
  
}

export interface PolicyHandlers extends grpc.UntypedServiceImplementation {
  Watch: grpc.handleBidiStreamingCall<_writ_v1_WatchPolicyRequest__Output, _writ_v1_Snapshot>;
  
}

export interface PolicyDefinition extends grpc.ServiceDefinition {
  Watch: MethodDefinition<_writ_v1_WatchPolicyRequest, _writ_v1_Snapshot, _writ_v1_WatchPolicyRequest__Output, _writ_v1_Snapshot__Output>
}
