import type { Migration } from '../migration.ts';

/**
 * Beside policies, objects of other kinds: of each kind there is one of a name. The table of what there is is made anew,
 * since SQLite cannot change a primary key.
 */
export const policyKinds: Migration = {
  name: '0012-policy-kinds',
  statements: (t) => [
    `create table policies_new (
      kind ${t.text} not null,
      namespace ${t.text} not null,
      name ${t.text} not null,
      revision ${t.bigint} not null,
      source ${t.text} not null,
      created_at ${t.bigint} not null,
      updated_at ${t.bigint} not null,
      updated_by ${t.text} not null,
      labels ${t.text} not null default '{}',
      primary key (kind, namespace, name)
    )${t.strict}`,
    `insert into policies_new (kind, namespace, name, revision, source, created_at, updated_at, updated_by, labels)
      select 'AuthorizationPolicy', namespace, name, revision, source, created_at, updated_at, updated_by, labels
      from policies`,
    `drop table policies`,
    `alter table policies_new rename to policies`,

    `alter table policy_revisions add column kind ${t.text} not null default 'AuthorizationPolicy'`,
    `drop index policy_revisions_by_name`,
    `create index policy_revisions_by_name on policy_revisions (kind, namespace, name, revision)`,
  ],
};
