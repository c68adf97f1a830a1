// Generated from identity.proto by `npm run gen`. Do not edit.

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { IdentityUpdate as _writ_v1_IdentityUpdate, IdentityUpdate__Output as _writ_v1_IdentityUpdate__Output } from '../../writ/v1/IdentityUpdate.ts';
import type { RenewRequest as _writ_v1_RenewRequest, RenewRequest__Output as _writ_v1_RenewRequest__Output } from '../../writ/v1/RenewRequest.ts';
import type { RenewResponse as _writ_v1_RenewResponse, RenewResponse__Output as _writ_v1_RenewResponse__Output } from '../../writ/v1/RenewResponse.ts';
import type { SignJwtRequest as _writ_v1_SignJwtRequest, SignJwtRequest__Output as _writ_v1_SignJwtRequest__Output } from '../../writ/v1/SignJwtRequest.ts';
import type { SignJwtResponse as _writ_v1_SignJwtResponse, SignJwtResponse__Output as _writ_v1_SignJwtResponse__Output } from '../../writ/v1/SignJwtResponse.ts';
import type { SignWitRequest as _writ_v1_SignWitRequest, SignWitRequest__Output as _writ_v1_SignWitRequest__Output } from '../../writ/v1/SignWitRequest.ts';
import type { SignWitResponse as _writ_v1_SignWitResponse, SignWitResponse__Output as _writ_v1_SignWitResponse__Output } from '../../writ/v1/SignWitResponse.ts';
import type { SignX509Request as _writ_v1_SignX509Request, SignX509Request__Output as _writ_v1_SignX509Request__Output } from '../../writ/v1/SignX509Request.ts';
import type { SignX509Response as _writ_v1_SignX509Response, SignX509Response__Output as _writ_v1_SignX509Response__Output } from '../../writ/v1/SignX509Response.ts';
import type { WatchIdentityRequest as _writ_v1_WatchIdentityRequest, WatchIdentityRequest__Output as _writ_v1_WatchIdentityRequest__Output } from '../../writ/v1/WatchIdentityRequest.ts';

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
  
  SignWit(argument: _writ_v1_SignWitRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignWitResponse__Output>): grpc.ClientUnaryCall;
  SignWit(argument: _writ_v1_SignWitRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_writ_v1_SignWitResponse__Output>): grpc.ClientUnaryCall;
  SignWit(argument: _writ_v1_SignWitRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignWitResponse__Output>): grpc.ClientUnaryCall;
  SignWit(argument: _writ_v1_SignWitRequest, callback: grpc.requestCallback<_writ_v1_SignWitResponse__Output>): grpc.ClientUnaryCall;
  signWit(argument: _writ_v1_SignWitRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignWitResponse__Output>): grpc.ClientUnaryCall;
  signWit(argument: _writ_v1_SignWitRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_writ_v1_SignWitResponse__Output>): grpc.ClientUnaryCall;
  signWit(argument: _writ_v1_SignWitRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignWitResponse__Output>): grpc.ClientUnaryCall;
  signWit(argument: _writ_v1_SignWitRequest, callback: grpc.requestCallback<_writ_v1_SignWitResponse__Output>): grpc.ClientUnaryCall;
  
  SignX509(argument: _writ_v1_SignX509Request, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignX509Response__Output>): grpc.ClientUnaryCall;
  SignX509(argument: _writ_v1_SignX509Request, metadata: grpc.Metadata, callback: grpc.requestCallback<_writ_v1_SignX509Response__Output>): grpc.ClientUnaryCall;
  SignX509(argument: _writ_v1_SignX509Request, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignX509Response__Output>): grpc.ClientUnaryCall;
  SignX509(argument: _writ_v1_SignX509Request, callback: grpc.requestCallback<_writ_v1_SignX509Response__Output>): grpc.ClientUnaryCall;
  signX509(argument: _writ_v1_SignX509Request, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignX509Response__Output>): grpc.ClientUnaryCall;
  signX509(argument: _writ_v1_SignX509Request, metadata: grpc.Metadata, callback: grpc.requestCallback<_writ_v1_SignX509Response__Output>): grpc.ClientUnaryCall;
  signX509(argument: _writ_v1_SignX509Request, options: grpc.CallOptions, callback: grpc.requestCallback<_writ_v1_SignX509Response__Output>): grpc.ClientUnaryCall;
  signX509(argument: _writ_v1_SignX509Request, callback: grpc.requestCallback<_writ_v1_SignX509Response__Output>): grpc.ClientUnaryCall;
  
  Watch(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_WatchIdentityRequest, _writ_v1_IdentityUpdate__Output>;
  Watch(options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_WatchIdentityRequest, _writ_v1_IdentityUpdate__Output>;
  watch(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_WatchIdentityRequest, _writ_v1_IdentityUpdate__Output>;
  watch(options?: grpc.CallOptions): grpc.ClientDuplexStream<_writ_v1_WatchIdentityRequest, _writ_v1_IdentityUpdate__Output>;
  
}

export interface IdentityHandlers extends grpc.UntypedServiceImplementation {
  Renew: grpc.handleUnaryCall<_writ_v1_RenewRequest__Output, _writ_v1_RenewResponse>;
  
  SignJwt: grpc.handleUnaryCall<_writ_v1_SignJwtRequest__Output, _writ_v1_SignJwtResponse>;
  
  SignWit: grpc.handleUnaryCall<_writ_v1_SignWitRequest__Output, _writ_v1_SignWitResponse>;
  
  SignX509: grpc.handleUnaryCall<_writ_v1_SignX509Request__Output, _writ_v1_SignX509Response>;
  
  Watch: grpc.handleBidiStreamingCall<_writ_v1_WatchIdentityRequest__Output, _writ_v1_IdentityUpdate>;
  
}

export interface IdentityDefinition extends grpc.ServiceDefinition {
  Renew: MethodDefinition<_writ_v1_RenewRequest, _writ_v1_RenewResponse, _writ_v1_RenewRequest__Output, _writ_v1_RenewResponse__Output>
  SignJwt: MethodDefinition<_writ_v1_SignJwtRequest, _writ_v1_SignJwtResponse, _writ_v1_SignJwtRequest__Output, _writ_v1_SignJwtResponse__Output>
  SignWit: MethodDefinition<_writ_v1_SignWitRequest, _writ_v1_SignWitResponse, _writ_v1_SignWitRequest__Output, _writ_v1_SignWitResponse__Output>
  SignX509: MethodDefinition<_writ_v1_SignX509Request, _writ_v1_SignX509Response, _writ_v1_SignX509Request__Output, _writ_v1_SignX509Response__Output>
  Watch: MethodDefinition<_writ_v1_WatchIdentityRequest, _writ_v1_IdentityUpdate, _writ_v1_WatchIdentityRequest__Output, _writ_v1_IdentityUpdate__Output>
}
