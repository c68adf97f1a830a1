import type { Shape } from './fields.ts';

/** The fields of RequestAuthentication and PeerAuthentication, as `shapes` is for AuthorizationPolicy. */
export const authenticationShapes = {
  requestDocument: {
    name: 'RequestAuthentication',
    fields: ['apiVersion', 'kind', 'metadata', 'spec'],
    ignored: ['status'],
    foreign: true,
  },
  requestSpec: {
    name: 'spec',
    fields: ['selector', 'targetRef', 'targetRefs', 'jwtRules'],
    foreign: true,
  },
  jwtRule: {
    name: 'jwtRules',
    fields: [
      'issuer',
      'audiences',
      'jwks',
      'jwksUri',
      'jwks_uri',
      'fromHeaders',
      'fromParams',
      'fromCookies',
      'forwardOriginalToken',
      'outputPayloadToHeader',
      'outputClaimToHeaders',
      'spaceDelimitedClaims',
      'timeout',
    ],
    foreign: true,
  },
  fromHeader: { name: 'fromHeaders', fields: ['name', 'prefix'], foreign: true },
  outputClaim: { name: 'outputClaimToHeaders', fields: ['header', 'claim'], foreign: true },
  peerDocument: {
    name: 'PeerAuthentication',
    fields: ['apiVersion', 'kind', 'metadata', 'spec'],
    ignored: ['status'],
    foreign: true,
  },
  peerSpec: { name: 'spec', fields: ['selector', 'mtls', 'portLevelMtls'], foreign: true },
  mtls: { name: 'mtls', fields: ['mode'], foreign: true },
} as const satisfies Record<string, Shape>;
