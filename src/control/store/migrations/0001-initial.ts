import type { Migration } from '../migration.ts';

/** Settings, the revision feed, policies with their history, entries, join tokens and the sidecars that have connected. */
export const initial: Migration = {
  name: '0001-initial',
  statements: (t) => [
    `create table meta (
      key ${t.text} primary key,
      value ${t.text} not null
    )${t.strict}`,

    `create table feed (
      id integer primary key check (id = 1),
      head ${t.bigint} not null
    )${t.strict}`,
    `insert into feed (id, head) values (1, 0)`,

    `create table policies (
      namespace ${t.text} not null,
      name ${t.text} not null,
      revision ${t.bigint} not null,
      source ${t.text} not null,
      created_at ${t.bigint} not null,
      updated_at ${t.bigint} not null,
      updated_by ${t.text} not null,
      primary key (namespace, name)
    )${t.strict}`,
    `create table policy_revisions (
      revision ${t.bigint} primary key,
      namespace ${t.text} not null,
      name ${t.text} not null,
      operation ${t.text} not null check (operation in ('put', 'delete')),
      source ${t.text},
      author ${t.text} not null,
      time ${t.bigint} not null
    )${t.strict}`,
    `create index policy_revisions_by_name on policy_revisions (namespace, name, revision)`,

    `create table entries (
      id ${t.text} primary key,
      spiffe_id ${t.text} not null unique,
      namespace ${t.text} not null,
      selectors ${t.text} not null,
      labels ${t.text} not null,
      x509_ttl_seconds integer,
      jwt_ttl_seconds integer,
      revision ${t.bigint} not null,
      created_at ${t.bigint} not null,
      updated_at ${t.bigint} not null
    )${t.strict}`,
    `create index entries_by_namespace on entries (namespace, id)`,

    `create table join_tokens (
      id ${t.text} primary key,
      token_hash ${t.text} not null unique,
      entry_id ${t.text} not null references entries (id) on delete cascade,
      created_at ${t.bigint} not null,
      expires_at ${t.bigint} not null,
      used_at ${t.bigint}
    )${t.strict}`,
    `create index join_tokens_by_entry on join_tokens (entry_id)`,
    `create index join_tokens_by_expiry on join_tokens (expires_at)`,

    `create table proxies (
      instance_id ${t.text} primary key,
      spiffe_id ${t.text} not null,
      version ${t.text} not null,
      inbound ${t.text} not null,
      serving integer not null,
      last_seen ${t.bigint} not null,
      revision ${t.bigint} not null
    )${t.strict}`,
    `create index proxies_by_revision on proxies (revision)`,
  ],
};
