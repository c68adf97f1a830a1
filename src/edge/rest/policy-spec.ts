import type { TSchema } from 'typebox';
import { Type } from 'typebox';
import type { PolicyKind } from '../../core/policy/kinds.ts';
import { warnings } from './dry-run.ts';
import { keyStatusSchema } from './key-status.ts';
import { namespaceName, objectName, oneOf, revision, time } from './schemas.ts';

/** For the reader of the OpenAPI document; what a document may hold is checked by core/policy alone. */

const text = Type.Optional(Type.String());
const strings = Type.Optional(Type.Array(Type.String()));
const selector = Type.Optional(Type.Object({ matchLabels: Type.Optional(Type.Record(Type.String(), Type.String())) }));
const target = Type.Object({ group: text, kind: Type.String(), name: Type.String() });
const targets = { targetRef: Type.Optional(target), targetRefs: Type.Optional(Type.Array(target)) };

const callers = {
  principals: strings,
  notPrincipals: strings,
  namespaces: strings,
  notNamespaces: strings,
  serviceAccounts: strings,
  notServiceAccounts: strings,
  trustDomains: strings,
  notTrustDomains: strings,
};

const source = {
  ...callers,
  requestPrincipals: strings,
  notRequestPrincipals: strings,
  ipBlocks: strings,
  notIpBlocks: strings,
  remoteIpBlocks: strings,
  notRemoteIpBlocks: strings,
};

const operation = {
  methods: strings,
  notMethods: strings,
  paths: strings,
  notPaths: strings,
  hosts: strings,
  notHosts: strings,
  ports: strings,
  notPorts: strings,
};

const authorizationPolicy = {
  selector,
  ...targets,
  action: Type.Optional(oneOf(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'])),
  provider: Type.Optional(Type.Object({ name: Type.String() }, { description: 'Of CUSTOM: who is asked.' })),
  direction: Type.Optional(oneOf(['Ingress', 'Egress'])),
  mode: Type.Optional(oneOf(['Enforce', 'Shadow'])),
  validity: Type.Optional(Type.Object({ notBefore: text, notAfter: text })),
  reason: text,
  rules: Type.Optional(
    Type.Array(
      Type.Object({
        from: Type.Optional(Type.Array(Type.Object({ source: Type.Object(source) }))),
        to: Type.Optional(
          Type.Array(
            Type.Object({
              operation: Type.Object(
                { ...operation, ...callers },
                { description: 'Only those of `direction: Egress` say whom the workload calls.' },
              ),
            }),
          ),
        ),
        when: Type.Optional(Type.Array(Type.Object({ key: Type.String(), values: strings, notValues: strings }))),
      }),
    ),
  ),
};

const requestAuthentication = {
  selector,
  ...targets,
  jwtRules: Type.Optional(
    Type.Array(
      Type.Object({
        issuer: Type.String(),
        audiences: strings,
        jwksUri: text,
        jwks: text,
        timeout: text,
        fromHeaders: Type.Optional(Type.Array(Type.Object({ name: Type.String(), prefix: text }))),
        fromParams: strings,
        fromCookies: strings,
        forwardOriginalToken: Type.Optional(Type.Boolean()),
        outputPayloadToHeader: text,
        outputClaimToHeaders: Type.Optional(Type.Array(Type.Object({ header: Type.String(), claim: Type.String() }))),
        spaceDelimitedClaims: strings,
      }),
    ),
  ),
};

const mtls = Type.Object({ mode: Type.Optional(oneOf(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'])) });

const peerAuthentication = {
  selector,
  mtls: Type.Optional(mtls),
  portLevelMtls: Type.Optional(Type.Record(Type.String(), mtls, { description: 'By port of the application.' })),
};

const rate = { requests: Type.Integer({ minimum: 1 }), period: text };

const rateLimit = {
  selector,
  total: Type.Optional(Type.Object(rate, { description: 'Of all callers together.' })),
  perSource: Type.Optional(Type.Object(rate, { description: 'Of each caller that no override names.' })),
  overrides: Type.Optional(Type.Array(Type.Object({ principals: strings, serviceAccounts: strings, ...rate }))),
};

const specs: Readonly<Record<PolicyKind, Readonly<Record<string, TSchema>>>> = {
  AuthorizationPolicy: authorizationPolicy,
  RequestAuthentication: requestAuthentication,
  PeerAuthentication: peerAuthentication,
  RateLimit: rateLimit,
};

/** An object of a kind, as REST shows it. */
export function envelopeSchema(kind: PolicyKind) {
  return Type.Object({
    apiVersion: Type.String(),
    kind: Type.String(),
    metadata: Type.Object(
      {
        name: objectName,
        namespace: namespaceName,
        revision,
        createdAt: time,
        updatedAt: time,
        updatedBy: Type.String(),
        labels: Type.Record(Type.String(), Type.String(), {
          description: 'Its own; by these `labelSelector` chooses.',
        }),
      },
      { additionalProperties: false },
    ),
    // What it may hold is for the reader: any object is answered with.
    spec: Type.Unsafe<object>(Type.Object(specs[kind], { description: 'As written in `source`.' })),
    source: Type.String({ description: 'The text byte for byte as it was put, comments included.' }),
    status: Type.Optional(keyStatusSchema),
    warnings,
  });
}
