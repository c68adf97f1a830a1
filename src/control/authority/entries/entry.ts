import { createHash } from 'node:crypto';
import type { Selectable } from 'kysely';
import type { Json } from '../../../core/identity/jwt-claims.ts';
import type { WorkloadEntry } from '../../../core/identity/workload-entry.ts';
import type { EntriesTable } from '../../store/tables.ts';
import type { EntrySpec } from './entry-input.ts';

/** Who may have which identity: a workload that shows these selectors to an agent below the parent may have the SPIFFE ID. */
export interface Entry extends WorkloadEntry {
  /**
   * Who serves it: the SPIFFE ID of an agent, or one that an alias gives to agents. The control plane's own ID: whoever
   * attests directly with the control plane (for an agent, the entry is an alias). null: nobody, only its join tokens do.
   */
  readonly parentId: string | null;
  /** What policies select by. They belong to the identity: all entries of one SPIFFE ID have the same. */
  readonly labels: Readonly<Record<string, string>>;
  /** null: the authority's default. */
  readonly x509TtlSeconds: number | null;
  /** null: the authority's default. */
  readonly jwtTtlSeconds: number | null;
  /** More claims of its JWTs, in which strings may hold the variables of the SPIFFE ID; null for none. */
  readonly jwtClaims: Readonly<Record<string, Json>> | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export type EntryRow = Selectable<EntriesTable>;

export function toEntry(row: EntryRow): Entry {
  return Object.freeze({
    id: row.id,
    parentId: row.parent_id === '' ? null : row.parent_id,
    spiffeId: row.spiffe_id,
    selectors: Object.freeze(JSON.parse(row.selectors) as string[]),
    namespaces: Object.freeze(JSON.parse(row.namespaces) as string[]),
    labels: Object.freeze(JSON.parse(row.labels) as Record<string, string>),
    x509TtlSeconds: row.x509_ttl_seconds,
    jwtTtlSeconds: row.jwt_ttl_seconds,
    dnsNames: Object.freeze(JSON.parse(row.dns_names) as string[]),
    federatesWith: Object.freeze(JSON.parse(row.federates_with) as string[]),
    hint: row.hint,
    expiresAt: row.expires_at,
    jwtClaims: row.jwt_claims === null ? null : Object.freeze(JSON.parse(row.jwt_claims) as Record<string, Json>),
    revision: row.revision,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  });
}

/** All that an administrator decides about an entry; labels are those of its identity. */
export function columnsOf(spec: EntrySpec, labels: Readonly<Record<string, string>>) {
  return {
    parent_id: spec.parentId ?? '',
    spiffe_id: spec.spiffeId,
    namespace: spec.namespace,
    template: spec.isTemplate ? 1 : 0,
    namespaces: JSON.stringify(spec.namespaces),
    selectors: JSON.stringify(spec.selectors),
    fingerprint: fingerprintOf(spec),
    labels: JSON.stringify(labels),
    x509_ttl_seconds: spec.x509TtlSeconds,
    jwt_ttl_seconds: spec.jwtTtlSeconds,
    dns_names: JSON.stringify(spec.dnsNames),
    federates_with: JSON.stringify(spec.federatesWith),
    hint: spec.hint,
    expires_at: spec.expiresAt,
    jwt_claims: spec.jwtClaims === null ? null : JSON.stringify(spec.jwtClaims),
  };
}

export type EntryColumns = ReturnType<typeof columnsOf>;

export function isSame(row: EntryRow, columns: EntryColumns): boolean {
  return (Object.keys(columns) as (keyof EntryColumns)[]).every((key) => row[key] === columns[key]);
}

/** No two entries have the same. */
export function fingerprintOf(spec: Pick<EntrySpec, 'parentId' | 'spiffeId' | 'selectors'>): string {
  const text = JSON.stringify([spec.parentId, spec.spiffeId, spec.selectors]);
  return createHash('sha256').update(text, 'utf8').digest('hex');
}
