import type { Migration } from '../migration.ts';

/** What has attested itself and what was evicted; and join tokens for agents, which have no entry. */
export const nodes: Migration = {
  name: '0005-nodes',
  statements: (t) => [
    `create table nodes (
      instance_id ${t.text} primary key,
      spiffe_id ${t.text} not null,
      kind ${t.text} not null check (kind in ('agent', 'workload')),
      method ${t.text} not null,
      subject ${t.text} not null,
      entry_id ${t.text},
      selectors ${t.text} not null,
      serial ${t.text} not null,
      next_serial ${t.text},
      can_reattest integer not null,
      banned integer not null,
      attested_at ${t.bigint} not null,
      last_seen ${t.bigint} not null,
      expires_at ${t.bigint} not null,
      bundle_sequence ${t.bigint},
      revision ${t.bigint} not null
    )${t.strict}`,
    `create index nodes_by_revision on nodes (revision)`,
    `create index nodes_by_subject on nodes (subject)`,
    `create index nodes_by_expiry on nodes (expires_at)`,

    // Kept until its last certificate has expired: without a row, a workload would look like one that an agent serves.
    `create table evicted_nodes (
      instance_id ${t.text} primary key,
      spiffe_id ${t.text} not null,
      expires_at ${t.bigint} not null,
      revision ${t.bigint} not null
    )${t.strict}`,
    `create index evicted_nodes_by_revision on evicted_nodes (revision)`,

    // No database of ours can drop "not null" in the same words as the others.
    `create table join_tokens_of_both (
      id ${t.text} primary key,
      token_hash ${t.text} not null unique,
      entry_id ${t.text} references entries (id) on delete cascade,
      created_at ${t.bigint} not null,
      expires_at ${t.bigint} not null,
      used_at ${t.bigint}
    )${t.strict}`,
    `insert into join_tokens_of_both (id, token_hash, entry_id, created_at, expires_at, used_at)
      select id, token_hash, entry_id, created_at, expires_at, used_at from join_tokens`,
    `drop table join_tokens`,
    `alter table join_tokens_of_both rename to join_tokens`,
    `create index join_tokens_by_entry on join_tokens (entry_id)`,
    `create index join_tokens_by_expiry on join_tokens (expires_at)`,
  ],
};
