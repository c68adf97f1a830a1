// Generated from identity.proto by `npm run gen`. Do not edit.

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { RenewRequest as _writ_v1_RenewRequest, RenewRequest__Output as _writ_v1_RenewRequest__Output } from '../../writ/v1/RenewRequest.ts';
import type { RenewResponse as _writ_v1_RenewResponse, RenewResponse__Output as _writ_v1_RenewResponse__Output } from '../../writ/v1/RenewResponse.ts';
import type { SignJwtRequest as _writ_v1_SignJwtRequest, SignJwtRequest__Output as _writ_v1_SignJwtRequest__Output } from '../../writ/v1/SignJwtRequest.ts';
import type { SignJwtResponse as _writ_v1_SignJwtResponse, SignJwtResponse__Output as _writ_v1_SignJwtResponse__Output } from '../../writ/v1/SignJwtResponse.ts';

export interface IdentityClient extends grpc.Client {
  Renew(argument: _writ_v1_RenewRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  Renew(argument: _writ_v1_RenewRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_writ_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  Renew(argument: _writ_v1_RenewRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  Renew(argument: _writ_v1_RenewRequest, callback: grpc.requestCallback<_writ_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  renew(argument: _writ_v1_RenewRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  renew(argument: _writ_v1_RenewRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_writ_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  renew(argument: _writ_v1_RenewRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  renew(argument: _writ_v1_RenewRequest, callback: grpc.requestCallback<_writ_v1_RenewResponse__Output>): grpc.ClientUnaryCall;
  
  SignJwt(argument: _writ_v1_SignJwtRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignJwtResponse__Output>): grpc.ClientUnaryCall;
  SignJwt(argument: _writ_v1_SignJwtRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_writ_v1_SignJwtResponse__Output>): grpc.ClientUnaryCall;
  SignJwt(argument: _writ_v1_SignJwtRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignJwtResponse__Output>): grpc.ClientUnaryCall;
  SignJwt(argument: _writ_v1_SignJwtRequest, callback: grpc.requestCallback<_writ_v1_SignJwtResponse__Output>): grpc.ClientUnaryCall;
  signJwt(argument: _writ_v1_SignJwtRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignJwtResponse__Output>): grpc.ClientUnaryCall;
  signJwt(argument: _writ_v1_SignJwtRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_writ_v1_SignJwtResponse__Output>): grpc.ClientUnaryCall;
  signJwt(argument: _writ_v1_SignJwtRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignJwtResponse__Output>): grpc.ClientUnaryCall;
  signJwt(argument: _writ_v1_SignJwtRequest, callback: grpc.requestCallback<_writ_v1_SignJwtResponse__Output>): grpc.ClientUnaryCall;
  
}

export interface IdentityHandlers extends grpc.UntypedServiceImplementation {
  Renew: grpc.handleUnaryCall<_writ_v1_RenewRequest__Output, _writ_v1_RenewResponse>;
  
  SignJwt: grpc.handleUnaryCall<_writ_v1_SignJwtRequest__Output, _writ_v1_SignJwtResponse>;
  
}

export interface IdentityDefinition extends grpc.ServiceDefinition {
  Renew: MethodDefinition<_writ_v1_RenewRequest, _writ_v1_RenewResponse, _writ_v1_RenewRequest__Output, _writ_v1_RenewResponse__Output>
  SignJwt: MethodDefinition<_writ_v1_SignJwtRequest, _writ_v1_SignJwtResponse, _writ_v1_SignJwtRequest__Output, _writ_v1_SignJwtResponse__Output>
}
