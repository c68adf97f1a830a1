import type { AuthorizationClient, AuthorizationDefinition } from './gen/envoy/service/auth/v3/Authorization.ts';
import { externalAuthorizationFiles } from './proto-files.ts';
import { Protocol } from './protocol.ts';

/** Envoy's external authorization, v3: what a sidecar asks when a CUSTOM policy says so. */

const protocol = new Protocol(externalAuthorizationFiles);

export const authorizationService = protocol.service<AuthorizationDefinition>('envoy.service.auth.v3.Authorization');
export const AuthorizationServiceClient = protocol.client<AuthorizationClient>('Authorization', authorizationService);
