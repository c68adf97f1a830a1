import { Type } from 'typebox';
import type { RelationshipWithBundle } from '../../control/authority/federation/relationship.ts';
import type { RelationshipInput } from '../../control/authority/federation/relationship-input.ts';
import { fingerprint } from '../../core/identity/bundle.ts';
import { warnings } from './dry-run.ts';
import { closed, namespaceName, nullable, oneOf, revision, spiffeId, time } from './schemas.ts';
import { toTime } from './time.ts';

export const trustDomain = Type.String({
  pattern: '^[a-z0-9._-]{1,255}$',
  description: 'Name of the other trust domain.',
});

const url = Type.String({ minLength: 1, maxLength: 2048, description: 'https, without user name and fragment.' });
const profile = oneOf(['https_web', 'https_spiffe'] as const, {
  description: 'How the endpoint proves what it is: by a certificate for its host name, or by an X.509-SVID.',
});
const endpointId = Type.Unsafe<string>({ ...spiffeId, description: 'For https_spiffe: the identity of the endpoint.' });
const caCertificates = Type.String({
  minLength: 1,
  maxLength: 128 * 1024,
  description: 'For https_web: authorities of its certificate, PEM; those that the system trusts if not given.',
});

const Service = Type.Object(
  {
    namespace: namespaceName,
    name: Type.String({ minLength: 1, maxLength: 63, description: 'Name of the service: a DNS label.' }),
    endpoints: Type.Array(
      Type.Object(
        {
          address: Type.String({ minLength: 1, maxLength: 261, description: 'host:port of its sidecar.' }),
          protocol: oneOf(['http', 'tcp'] as const),
        },
        closed,
      ),
    ),
  },
  closed,
);

export const FederationBody = Type.Object(
  {
    bundleEndpoint: Type.Object(
      {
        url,
        profile,
        spiffeId: Type.Optional(nullable(endpointId)),
        caCertificates: Type.Optional(nullable(caCertificates)),
      },
      closed,
    ),
    bundle: Type.Optional(
      nullable(
        Type.String({
          minLength: 1,
          maxLength: 512 * 1024,
          description:
            'Its SPIFFE bundle, the document as text: what the first connection is verified with. Needed for https_spiffe; ' +
            'replaces the stored one whatever its sequence. Not shown again.',
        }),
      ),
    ),
    services: Type.Optional(
      Type.Array(Service, { description: 'Its services that workloads which federate with it may call.' }),
    ),
  },
  closed,
);

export const FederationOutput = Type.Object(
  {
    trustDomain,
    bundleEndpoint: Type.Object(
      { url, profile, spiffeId: nullable(endpointId), caCertificates: nullable(caCertificates) },
      closed,
    ),
    services: Type.Array(Service),
    bundle: Type.Object(
      {
        sequence: nullable(Type.String({ description: "The issuer's count, decimal: up to 64 bits." })),
        roots: Type.Array(Type.String(), { description: 'SHA-256 fingerprints of its X.509 authorities.' }),
        jwtKeys: Type.Array(Type.String(), { description: 'Key ids of its JWT and WIT authorities.' }),
        ignored: Type.Array(Type.String(), { description: 'Keys that are left out, and why.' }),
        fetchedAt: nullable(Type.Unsafe<string>({ ...time, description: 'When it last changed.' })),
        checkedAt: nullable(Type.Unsafe<string>({ ...time, description: 'When it was last asked for.' })),
        lastError: nullable(Type.String({ description: 'Why the last time brought nothing.' })),
      },
      closed,
    ),
    revision,
    createdAt: time,
    updatedAt: time,
    warnings,
  },
  closed,
);

export function toOutput(relationship: RelationshipWithBundle) {
  const { document, fetchedAt, checkedAt, lastError } = relationship.bundle;
  return {
    trustDomain: relationship.trustDomain,
    bundleEndpoint: { ...relationship.bundleEndpoint },
    services: relationship.services.map((service) => ({
      namespace: service.namespace,
      name: service.name,
      endpoints: service.endpoints.map(({ address, protocol }) => ({ address, protocol })),
    })),
    bundle: {
      sequence: document?.sequence?.toString() ?? null,
      roots: (document?.roots ?? []).map(fingerprint),
      jwtKeys: (document?.jwks.keys ?? []).flatMap((key) => key.kid ?? []),
      ignored: [...(document?.ignored ?? [])],
      fetchedAt: fetchedAt === null ? null : toTime(fetchedAt),
      checkedAt: checkedAt === null ? null : toTime(checkedAt),
      lastError,
    },
    revision: relationship.revision,
    createdAt: toTime(relationship.createdAt),
    updatedAt: toTime(relationship.updatedAt),
  };
}

export function toInput(name: string, body: Omit<RelationshipInput, 'trustDomain'>): RelationshipInput {
  return { ...body, trustDomain: name };
}
