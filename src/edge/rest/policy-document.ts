import { Type } from 'typebox';
import { parseAllDocuments } from 'yaml';
import { AppError } from '../../base/errors.ts';
import type { StoredPolicy } from '../../control/policies/store.ts';
import { warnings } from './dry-run.ts';
import { namespaceName, objectName, oneOf, revision, time } from './schemas.ts';
import { toTime } from './time.ts';

const strings = Type.Optional(Type.Array(Type.String()));

const source = {
  principals: strings,
  notPrincipals: strings,
  namespaces: strings,
  notNamespaces: strings,
  serviceAccounts: strings,
  notServiceAccounts: strings,
  trustDomains: strings,
  notTrustDomains: strings,
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

/** For the reader of the OpenAPI document; what a policy may hold is checked by core/policy alone. */
export const PolicySpec = Type.Object(
  {
    selector: Type.Optional(Type.Object({ matchLabels: Type.Optional(Type.Record(Type.String(), Type.String())) })),
    action: Type.Optional(oneOf(['ALLOW', 'DENY', 'AUDIT'])),
    mode: Type.Optional(oneOf(['Enforce', 'Shadow'])),
    validity: Type.Optional(
      Type.Object({ notBefore: Type.Optional(Type.String()), notAfter: Type.Optional(Type.String()) }),
    ),
    reason: Type.Optional(Type.String()),
    rules: Type.Optional(
      Type.Array(
        Type.Object({
          from: Type.Optional(Type.Array(Type.Object({ source: Type.Object(source) }))),
          to: Type.Optional(Type.Array(Type.Object({ operation: Type.Object(operation) }))),
          when: Type.Optional(Type.Array(Type.Object({ key: Type.String(), values: strings, notValues: strings }))),
        }),
      ),
    ),
  },
  { description: 'As written in `source`.' },
);

export const PolicyEnvelope = Type.Object({
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
      labels: Type.Record(Type.String(), Type.String(), { description: 'Its own; by these `labelSelector` chooses.' }),
    },
    { additionalProperties: false },
  ),
  spec: PolicySpec,
  source: Type.String({ description: 'The text byte for byte as it was put, comments included.' }),
  warnings,
});

export interface Envelope {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly revision: number;
    readonly createdAt: string;
    readonly updatedAt: string;
    readonly updatedBy: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  readonly spec: object;
  readonly source: string;
}

/** The stored policy as REST shows it. `spec` is what the source says, not a rendering of what was understood. */
export function toEnvelope(stored: Omit<StoredPolicy, 'kind' | 'object' | 'ruleLines'>): Envelope {
  const { apiVersion, kind, spec } = readDocument(stored.source);
  return {
    apiVersion,
    kind,
    metadata: {
      name: stored.name,
      namespace: stored.namespace,
      revision: stored.revision,
      createdAt: toTime(stored.createdAt),
      updatedAt: toTime(stored.updatedAt),
      updatedBy: stored.updatedBy,
      labels: { ...stored.labels },
    },
    spec,
    source: stored.source,
  };
}

/** The source was accepted by the policy parser before it was stored: this only takes it apart. */
function readDocument(source: string): { apiVersion: string; kind: string; spec: object } {
  for (const document of parseAllDocuments(source)) {
    const value: unknown = 'toJS' in document ? document.toJS({ maxAliasCount: 0 }) : undefined;
    if (typeof value !== 'object' || value === null) continue;
    const { apiVersion, kind, spec } = value as Readonly<Record<string, unknown>>;
    return {
      apiVersion: String(apiVersion),
      kind: String(kind),
      spec: typeof spec === 'object' && spec !== null ? spec : {},
    };
  }
  throw new AppError('incompatible-data', 'A stored policy cannot be read.');
}
