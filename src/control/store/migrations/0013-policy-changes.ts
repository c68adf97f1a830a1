import type { Migration } from '../migration.ts';

/** Changes of policies that are proposed, approved and rolled out. */
export const policyChanges: Migration = {
  name: '0013-policy-changes',
  statements: (t) => [
    `create table policy_changes (
      revision ${t.bigint} primary key,
      state ${t.text} not null
        check (state in ('proposed', 'approved', 'rolling', 'applied', 'rejected', 'rolled-back', 'expired')),
      author ${t.text} not null,
      reason ${t.text} not null,
      created_at ${t.bigint} not null,
      expires_at ${t.bigint} not null,
      approver ${t.text},
      why ${t.text},
      applied_revision ${t.bigint},
      updated_at ${t.bigint} not null,
      version ${t.bigint} not null
    )${t.strict}`,
    `create index policy_changes_by_state on policy_changes (state, revision)`,

    `create table policy_change_documents (
      change ${t.bigint} not null references policy_changes (revision) on delete cascade,
      place integer not null,
      operation ${t.text} not null check (operation in ('put', 'delete')),
      kind ${t.text} not null,
      namespace ${t.text} not null,
      name ${t.text} not null,
      source ${t.text},
      replaces ${t.bigint},
      revision ${t.bigint} not null,
      primary key (change, place)
    )${t.strict}`,
    `create index policy_change_documents_by_namespace on policy_change_documents (namespace, change)`,

    `create table policy_change_events (
      change ${t.bigint} not null references policy_changes (revision) on delete cascade,
      place integer not null,
      time ${t.bigint} not null,
      actor ${t.text} not null,
      action ${t.text} not null,
      detail ${t.text} not null,
      primary key (change, place)
    )${t.strict}`,

    `create table policy_rollouts (
      change ${t.bigint} primary key references policy_changes (revision) on delete cascade,
      steps ${t.text} not null,
      bake_ms ${t.bigint} not null,
      bounds ${t.text} not null,
      started_by ${t.text} not null,
      started_at ${t.bigint} not null,
      step integer not null,
      threshold ${t.bigint} not null,
      chosen integer not null,
      step_started_at ${t.bigint} not null,
      bake_started_at ${t.bigint},
      step_revision ${t.bigint} not null,
      observed ${t.text} not null,
      version ${t.bigint} not null
    )${t.strict}`,

    `create table policy_rollout_proxies (
      change ${t.bigint} not null references policy_changes (revision) on delete cascade,
      instance_id ${t.text} not null,
      state ${t.text} not null check (state in ('pending', 'acknowledged', 'rejected')),
      step integer not null,
      error ${t.text} not null,
      heard_at ${t.bigint},
      primary key (change, instance_id)
    )${t.strict}`,
  ],
};
