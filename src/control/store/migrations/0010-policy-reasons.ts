import type { Migration } from '../migration.ts';

/** Why each policy was changed, and of which revision it got the content again where it was rolled back. */
export const policyReasons: Migration = {
  name: '0010-policy-reasons',
  statements: (t) => [
    `alter table policy_revisions add column reason ${t.text}`,
    `alter table policy_revisions add column restores ${t.bigint}`,
    `create index policy_revisions_by_namespace on policy_revisions (namespace, revision)`,
    `create index policy_revisions_by_author on policy_revisions (author, revision)`,
  ],
};
