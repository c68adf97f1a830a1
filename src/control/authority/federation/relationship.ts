import type { Selectable } from 'kysely';
import type { TrustBundle } from '../../../core/identity/bundle.ts';
import type { SpiffeBundleDocument } from '../../../core/identity/spiffe-bundle.ts';
import { parseSpiffeBundle } from '../../../core/identity/spiffe-bundle.ts';
import { workloadId } from '../../../core/identity/spiffe-id.ts';
import type { EndpointProtocol, Service } from '../../../core/policy/snapshot.ts';
import type { FederationBundlesTable, FederationRelationshipsTable } from '../../store/tables.ts';

/** How the endpoint proves what it is (SPIFFE_Federation.md §5.1 and §5.2). */
export type EndpointProfile = 'https_web' | 'https_spiffe';

/** Where the bundle of another trust domain comes from. None of it is ever inferred from the rest (§7.2). */
export interface BundleEndpoint {
  /** https, without userinfo and fragment. */
  readonly url: string;
  readonly profile: EndpointProfile;
  /** https_spiffe: the one identity that the endpoint must present. */
  readonly spiffeId: string | null;
  /** https_web: the authorities that its certificate must come from, PEM; null for those that the system trusts. */
  readonly caCertificates: string | null;
}

/** A service there that may be called from here. */
export interface RemoteService {
  readonly namespace: string;
  readonly name: string;
  /** host:port of inbound listeners of its sidecars. */
  readonly endpoints: readonly { readonly address: string; readonly protocol: EndpointProtocol }[];
}

/** What an operator has decided about another trust domain. */
export interface Relationship {
  readonly trustDomain: string;
  readonly bundleEndpoint: BundleEndpoint;
  readonly services: readonly RemoteService[];
  /** Store revision of its last change. */
  readonly revision: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** What is known of its bundle. */
export interface BundleStatus {
  /** The newest document; undefined as long as there has been none. */
  readonly document: SpiffeBundleDocument | undefined;
  readonly fetchedAt: number | null;
  readonly checkedAt: number | null;
  /** Why the last poll brought nothing. */
  readonly lastError: string | null;
  /** Store revision at which trust in it last changed. */
  readonly revision: number;
}

export interface RelationshipWithBundle extends Relationship {
  readonly bundle: BundleStatus;
}

export type RelationshipRow = Selectable<FederationRelationshipsTable>;
export type BundleRow = Selectable<FederationBundlesTable>;

export function toRelationship(row: RelationshipRow): Relationship {
  return Object.freeze({
    trustDomain: row.trust_domain,
    bundleEndpoint: Object.freeze({
      url: row.bundle_url,
      profile: row.profile,
      spiffeId: row.endpoint_spiffe_id,
      caCertificates: row.ca_certificates,
    }),
    services: Object.freeze(JSON.parse(row.services) as RemoteService[]),
    revision: row.revision,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  });
}

export function toBundleStatus(row: BundleRow): BundleStatus {
  return Object.freeze({
    document: row.document === null ? undefined : parseSpiffeBundle(row.document, row.trust_domain),
    fetchedAt: row.fetched_at,
    checkedAt: row.checked_at,
    lastError: row.last_error,
    revision: row.revision,
  });
}

export function withBundle(relationship: RelationshipRow, bundle: BundleRow): RelationshipWithBundle {
  return Object.freeze({ ...toRelationship(relationship), bundle: toBundleStatus(bundle) });
}

/**
 * What verifies identities of the trust domain; undefined when nothing does: there has been no bundle, or all its keys are
 * revoked (§4.1.3). Its sequence is our own revision, which always grows; the issuer's may have more bits than a number.
 */
export function trustBundleOf(trustDomain: string, status: BundleStatus): TrustBundle | undefined {
  const { document, revision } = status;
  if (document === undefined || (document.roots.length === 0 && document.jwks.keys.length === 0)) return undefined;
  return Object.freeze({ trustDomain, roots: document.roots, jwks: document.jwks, sequence: revision });
}

/** Its services as sidecars call them: each by its one identity in that trust domain. */
export function servicesOf(relationship: Relationship): readonly Service[] {
  return relationship.services.map(({ namespace, name, endpoints }) =>
    Object.freeze({
      namespace,
      name,
      spiffeId: workloadId(relationship.trustDomain, namespace, name).uri,
      endpoints,
    }),
  );
}
