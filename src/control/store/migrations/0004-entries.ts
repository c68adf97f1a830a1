import type { Migration } from '../migration.ts';

/**
 * Entries with everything that an identity can have, several of them for one SPIFFE ID, and what was deleted, so that
 * whoever holds them in memory reads only what has changed. Both tables are made anew, since SQLite cannot drop a
 * constraint; the tokens first, since dropping the entries would take theirs along.
 */
export const entries: Migration = {
  name: '0004-entries',
  statements: (t) => [
    `create table entries_new (
      id ${t.text} primary key,
      parent_id ${t.text} not null,
      spiffe_id ${t.text} not null,
      namespace ${t.text} not null,
      template integer not null,
      namespaces ${t.text} not null,
      selectors ${t.text} not null,
      fingerprint ${t.text} not null,
      labels ${t.text} not null,
      x509_ttl_seconds integer,
      jwt_ttl_seconds integer,
      dns_names ${t.text} not null,
      federates_with ${t.text} not null,
      hint ${t.text} not null,
      expires_at ${t.bigint},
      jwt_claims ${t.text},
      revision ${t.bigint} not null,
      created_at ${t.bigint} not null,
      updated_at ${t.bigint} not null
    )${t.strict}`,
    // A SPIFFE ID had one entry, and nothing could serve it but a join token: the id alone is fingerprint enough.
    `insert into entries_new (
      id, parent_id, spiffe_id, namespace, template, namespaces, selectors, fingerprint, labels, x509_ttl_seconds,
      jwt_ttl_seconds, dns_names, federates_with, hint, expires_at, jwt_claims, revision, created_at, updated_at
    ) select
      id, '', spiffe_id, namespace, 0, '[]', selectors, id, labels, x509_ttl_seconds,
      jwt_ttl_seconds, '[]', '[]', '', null, null, revision, created_at, updated_at
    from entries`,

    `create table join_tokens_new (
      id ${t.text} primary key,
      token_hash ${t.text} not null unique,
      entry_id ${t.text} not null references entries_new (id) on delete cascade,
      created_at ${t.bigint} not null,
      expires_at ${t.bigint} not null,
      used_at ${t.bigint}
    )${t.strict}`,
    `insert into join_tokens_new (id, token_hash, entry_id, created_at, expires_at, used_at)
      select id, token_hash, entry_id, created_at, expires_at, used_at from join_tokens`,

    `drop table join_tokens`,
    `drop table entries`,
    `alter table entries_new rename to entries`,
    `alter table join_tokens_new rename to join_tokens`,

    `create unique index entries_by_fingerprint on entries (fingerprint)`,
    `create index entries_by_spiffe_id on entries (spiffe_id, id)`,
    `create index entries_by_parent on entries (parent_id, id)`,
    `create index entries_by_namespace on entries (namespace, id)`,
    `create index entries_by_revision on entries (revision)`,
    `create index join_tokens_by_entry on join_tokens (entry_id)`,
    `create index join_tokens_by_expiry on join_tokens (expires_at)`,

    `create table deleted_entries (
      id ${t.text} primary key,
      revision ${t.bigint} not null,
      deleted_at ${t.bigint} not null
    )${t.strict}`,
    `create index deleted_entries_by_revision on deleted_entries (revision)`,
    `create index deleted_entries_by_time on deleted_entries (deleted_at)`,
  ],
};
