import type { ColumnType } from 'kysely';
import type { AuditTables } from './audit-tables.ts';

/**
 * The columns of every table, as Kysely sees them. Times are milliseconds since the epoch; `selectors`, `labels` and
 * `inbound` hold JSON; `serving` is 0 or 1.
 */
export interface Tables extends AuditTables {
  readonly meta: MetaTable;
  readonly schema_migrations: SchemaMigrationsTable;
  readonly feed: FeedTable;
  readonly policies: PoliciesTable;
  readonly policy_revisions: PolicyRevisionsTable;
  readonly entries: EntriesTable;
  readonly join_tokens: JoinTokensTable;
  readonly proxies: ProxiesTable;
  readonly idempotency_keys: IdempotencyKeysTable;
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

export interface PoliciesTable {
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

/** Every change to a policy, for ever; `source` is null for a deletion. */
export interface PolicyRevisionsTable {
  revision: number;
  namespace: string;
  name: string;
  operation: 'put' | 'delete';
  source: string | null;
  author: string;
  time: number;
}

export interface EntriesTable {
  id: string;
  spiffe_id: string;
  /** Of the SPIFFE ID. */
  namespace: string;
  selectors: string;
  labels: string;
  x509_ttl_seconds: number | null;
  jwt_ttl_seconds: number | null;
  revision: number;
  created_at: number;
  updated_at: number;
}

export interface JoinTokensTable {
  id: string;
  /** SHA-256 of the token, lower hex: the token itself is nowhere. */
  token_hash: string;
  entry_id: string;
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
  /** Store revision of its last change; being seen is none. */
  revision: number;
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
