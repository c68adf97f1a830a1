// Generated from enrollment.proto by `npm run gen`. Do not edit.

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { AttestRequest as _writ_v1_AttestRequest, AttestRequest__Output as _writ_v1_AttestRequest__Output } from '../../writ/v1/AttestRequest.ts';
import type { AttestResponse as _writ_v1_AttestResponse, AttestResponse__Output as _writ_v1_AttestResponse__Output } from '../../writ/v1/AttestResponse.ts';

export interface EnrollmentClient extends grpc.Client {
  Attest(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_AttestRequest, _writ_v1_AttestResponse__Output>;
  Attest(options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_AttestRequest, _writ_v1_AttestResponse__Output>;
  attest(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_AttestRequest, _writ_v1_AttestResponse__Output>;
  attest(options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_AttestRequest, _writ_v1_AttestResponse__Output>;
  
}

export interface EnrollmentHandlers extends grpc.UntypedServiceImplementation {
  Attest: grpc.handleBidiStreamingCall<_writ_v1_AttestRequest__Output, _writ_v1_AttestResponse>;
  
}

export interface EnrollmentDefinition extends grpc.ServiceDefinition {
  Attest: MethodDefinition<_writ_v1_AttestRequest, _writ_v1_AttestResponse, _writ_v1_AttestRequest__Output, _writ_v1_AttestResponse__Output>
}
