import type { ColumnType } from 'kysely';
import type { PolicyKind } from '../../core/policy/kinds.ts';
import type { AuditTables } from './audit-tables.ts';
import type { ChangeTables } from './change-tables.ts';

/**
 * The columns of every table, as Kysely sees them. Times are milliseconds since the epoch; `selectors`, `labels` and
 * `inbound` hold JSON; `serving` is 0 or 1.
 */
export interface Tables extends AuditTables, ChangeTables {
  readonly meta: MetaTable;
  readonly schema_migrations: SchemaMigrationsTable;
  readonly feed: FeedTable;
  readonly policies: PoliciesTable;
  readonly policy_revisions: PolicyRevisionsTable;
  readonly entries: EntriesTable;
  readonly deleted_entries: DeletedEntriesTable;
  readonly join_tokens: JoinTokensTable;
  readonly proxies: ProxiesTable;
  readonly idempotency_keys: IdempotencyKeysTable;
  readonly nodes: NodesTable;
  readonly evicted_nodes: EvictedNodesTable;
  readonly authorities: AuthoritiesTable;
  readonly authority_head: AuthorityHeadTable;
  readonly audit_log_locks: AuditLogLocksTable;
  readonly federation_relationships: FederationRelationshipsTable;
  readonly federation_bundles: FederationBundlesTable;
  readonly admin_tokens: AdminTokensTable;
  readonly quarantines: QuarantinesTable;
  readonly plan_receipts: PlanReceiptsTable;
  readonly issuer_keys: IssuerKeysTable;
}

export interface MetaTable {
  key: string;
  value: string;
}

export interface SchemaMigrationsTable {
  position: number;
  name: string;
  applied_at: number;
}

/** One row: the revision of the latest committed change. */
export interface FeedTable {
  id: number;
  head: number;
}

/** Of policies and of every other kind. */
export interface PoliciesTable {
  kind: PolicyKind;
  namespace: string;
  name: string;
  revision: number;
  source: string;
  created_at: number;
  updated_at: number;
  updated_by: string;
  /** JSON. */
  labels: ColumnType<string, string | undefined, string>;
}

/** Every change to an object of any kind, for ever; `source` is null for a deletion. */
export interface PolicyRevisionsTable {
  revision: number;
  kind: PolicyKind;
  namespace: string;
  name: string;
  operation: 'put' | 'delete';
  source: string | null;
  author: string;
  time: number;
  /** null: none was given. */
  reason: ColumnType<string | null, string | null | undefined, string | null>;
  /** The revision whose content it has again; null where it is no rollback. */
  restores: ColumnType<number | null, number | null | undefined, number | null>;
}

export interface EntriesTable {
  id: string;
  /** SPIFFE ID; empty for none. */
  parent_id: string;
  /** Or a template of SPIFFE IDs. */
  spiffe_id: string;
  /** Of the SPIFFE ID; empty where it has none, or has it by a variable. */
  namespace: string;
  /** Whether `spiffe_id` is one: 0 or 1. */
  template: number;
  /** Within which a template is bounded: JSON. */
  namespaces: string;
  /** Sorted. */
  selectors: string;
  /** No two entries have the same parent, SPIFFE ID and selectors: SHA-256 of the three, lower hex. */
  fingerprint: string;
  labels: string;
  x509_ttl_seconds: number | null;
  jwt_ttl_seconds: number | null;
  /** JSON. */
  dns_names: string;
  /** JSON. */
  federates_with: string;
  hint: string;
  expires_at: number | null;
  /** JSON. */
  jwt_claims: string | null;
  revision: number;
  created_at: number;
  updated_at: number;
}

/** So that who holds the entries in memory learns which are gone. Kept for a while. */
export interface DeletedEntriesTable {
  id: string;
  revision: number;
  deleted_at: number;
}

export interface JoinTokensTable {
  id: string;
  /** SHA-256 of the token, lower hex: the token itself is nowhere. */
  token_hash: string;
  /** null: for an agent. */
  entry_id: string | null;
  created_at: number;
  expires_at: number;
  used_at: number | null;
}

export interface ProxiesTable {
  instance_id: string;
  spiffe_id: string;
  version: string;
  inbound: string;
  /** Whether its endpoints are part of the mesh. */
  serving: number;
  last_seen: number;
  /** Store revision of its last change; being seen, and having a bundle in force, are none. */
  revision: number;
  /** Of the newest trust bundle that it was known to have in force. */
  bundle_sequence: ColumnType<number | null, number | null | undefined, number | null>;
}

/** One row per Idempotency-Key of a caller. Without the caller's token, nothing in it tells what was asked or answered. */
export interface IdempotencyKeysTable {
  caller: string;
  /** SHA-256, lower hex. */
  key_hash: string;
  request_mac: string;
  /** What the keys of this row are derived with, together with the caller's token. */
  salt: string;
  /** Who carries the request out. */
  claim: string;
  /** Until then nobody else may. */
  claimed_until: number;
  /** Sealed; null while it is being carried out. */
  answer: string | null;
  expires_at: number;
}

/** What has attested itself with the control plane, one row per instance. */
export interface NodesTable {
  instance_id: string;
  spiffe_id: string;
  kind: 'agent' | 'workload';
  method: string;
  /** What the method knows it by: whoever attests as the same subject is the same node. */
  subject: string;
  entry_id: string | null;
  /** JSON. */
  selectors: string;
  /** Of the certificate that is in use, lower hex. */
  serial: string;
  /** Of one that was issued and has not been used yet. */
  next_serial: string | null;
  can_reattest: number;
  banned: number;
  attested_at: number;
  last_seen: number;
  /** When its last certificate expires. */
  expires_at: number;
  bundle_sequence: number | null;
  /** Store revision of its last change; being seen, and a certificate that is not in use yet, are none. */
  revision: number;
}

/** Instances that may not come back with the certificates that they have. */
export interface EvictedNodesTable {
  instance_id: string;
  spiffe_id: string;
  expires_at: number;
  revision: number;
}

/** Keys and roots; the private halves are in the key store, under `key_name`. */
export interface AuthoritiesTable {
  id: string;
  kind: 'x509' | 'jwt' | 'wit';
  state: 'new' | 'prepared' | 'active' | 'old' | 'tainted' | 'retired' | 'revoked';
  /** Fingerprint of the root, or kid of the key. */
  name: string;
  key_name: string | null;
  certificate: Uint8Array | null;
  /** JSON. */
  jwk: string | null;
  not_before: number;
  not_after: number;
  below_ms: number;
  created_at: number;
  since: number;
  sequence: number;
  soon: number;
}

/** Trust domains whose identities are verified here, as an operator has decided. */
export interface FederationRelationshipsTable {
  trust_domain: string;
  bundle_url: string;
  profile: 'https_web' | 'https_spiffe';
  /** Of the endpoint's certificate, for https_spiffe. */
  endpoint_spiffe_id: string | null;
  /** PEM; null for those that the system trusts. */
  ca_certificates: string | null;
  /** JSON. */
  services: string;
  /** Store revision of its last change; a new bundle is none. */
  revision: number;
  created_at: number;
  updated_at: number;
}

/** The newest bundle of each, and how the last poll went. */
export interface FederationBundlesTable {
  trust_domain: string;
  /** As it was served; null as long as there has been none. */
  document: string | null;
  /** Decimal; null when the issuer does not count. */
  sequence: string | null;
  refresh_hint_seconds: number | null;
  /** When its content was last found to be new. */
  fetched_at: number | null;
  checked_at: number | null;
  last_error: string | null;
  /** Store revision at which trust in it last changed; polls that find nothing new are no change. */
  revision: number;
}

/** Tokens of administrators by name. */
export interface AdminTokensTable {
  id: string;
  name: string;
  /** SHA-256 of the token, lower hex: the token itself is nowhere. */
  token_hash: string;
  created_at: number;
  expires_at: number;
  last_used_at: number | null;
  role: string;
}

/** One row: see the migration. */
export interface AuthorityHeadTable {
  id: number;
  version: number;
  sequence: number;
}

/** One row per audit log: the last checkpoint that was signed for it. */
export interface AuditLogLocksTable {
  origin: string;
  /** The signed note. */
  checkpoint: string;
}

/** Identities that are or were cut off; in force are those that were not released. */
export interface QuarantinesTable {
  id: string;
  spiffe_id: string;
  reason: string;
  author: string;
  created_at: number;
  release_reason: string | null;
  released_by: string | null;
  released_at: number | null;
  /** Store revision of its last change. */
  revision: number;
}

/** One row per plan that was made, of the last day. */
export interface PlanReceiptsTable {
  /** Of the documents that were planned. */
  digest: string;
  /** Of the policies that they were compared with. */
  base_revision: number;
  made_at: number;
  made_by: string;
}

/** One row per place that keys of issuers are fetched from, while a request authentication names it. */
export interface IssuerKeysTable {
  source: string;
  /** Canonical JSON Web Key Set. */
  jwks: string;
  fetched_at: number;
}
